// Package usage turns usage events from their wire format into billing.Event,
// refusing what the format does not allow. It knows nothing of prices, periods
// or storage.
//
// Decode reads one event, Scan the lines of a stream, Elements the entries of
// an array, and DecodeAll a whole file on several cores. One bad event never
// costs more than itself.
//
// # What the format allows
//
// One JSON object by RFC 8259: valid UTF-8, no name twice in any object, no
// name that differs from a known one in case alone, no NUL, nothing behind it.
//
//   - id: 1 to 200 bytes of text without control characters and without a space at
//     its ends; kept and compared byte by byte, since programs make it.
//   - user: 1 to 200 bytes; product, model: 1 to 100 bytes without '/';
//     organization: a slug. People type these, so they are kept and compared in
//     Unicode NFC (billing.NormalizeID), and characters that cannot be seen are
//     refused by name. A user that is absent or null is a service; "" is refused.
//   - occurred_at: an RFC 3339 time with its zone, at most 14 hours off UTC, in
//     the years 2000 to 2100; "t" and "z" may be small. What is finer than a
//     microsecond is cut off. Leap seconds and hour 24 are refused, because
//     systems differ on which instant they mean.
//   - Counts: whole numbers from 0 to 10^12 in digits alone (not 1.0, 1e3, -0 or
//     "5"). Only input_tokens and output_tokens are required; any other may be
//     absent or null and is then 0.
//   - usage.cache_creation must add up to usage.cache_creation_input_tokens if
//     both are given. Without the split, cache writes count as 5-minute writes
//     and the event is flagged.
//   - usage.service_tier is kept, whatever it is; absent or null is standard.
//   - speed (standard, fast) and inference_geo (global, us; not_available is
//     global) may stand beside usage or in it; if in both, they must agree. A
//     batch has no fast speed.
//   - labels: at most 50 strings, names of 1 to 40 bytes, values of up to 200
//     bytes, both as user is; none may hold a payment card's number.
//   - Any other name beside usage is refused. In usage, a name that ends in
//     _tokens and is not known makes the event unpriceable (UnknownCount) unless
//     it is 0, null, an object or an array; any other is left unread.
package usage
