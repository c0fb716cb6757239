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
//   - user: 1 to 200 bytes; product: 1 to 100; model: 1 to 256; organization: a slug.
//     People type these, so they are kept and compared in Unicode NFC
//     (billing.NormalizeID), and characters that cannot be seen are refused by name. A
//     user that is absent, null or "" is a service.
//   - occurred_at: an RFC 3339 time with its zone, at most 14 hours off UTC, in
//     the years 2000 to 2100; "t" and "z" may be small. What is finer than a
//     microsecond is cut off. Leap seconds and hour 24 are refused, because
//     systems differ on which instant they mean.
//   - usage: the Messages API's object, as it answers and as programs that report it
//     write it down. Nothing in it is refused but what is no count where a count must be.
//   - Any other name beside usage is refused.
//
// # What usage says
//
//   - Counts: whole numbers from 0 to 10^12 in digits alone (not 1.0, 1e3 or -0).
//     Only input_tokens and output_tokens are required; any other may be absent or
//     null and is then 0. "" and null say nothing, everywhere.
//   - cache_creation divides cache_creation_input_tokens. What it leaves open counts
//     as 5-minute writes, and the event is flagged.
//   - iterations are the runs of models that answered the request, each of its own
//     model: each is billed by itself (Event.Samplings) where they say more than the
//     request's own counts. What the vendor says of each type is cited there.
//   - service_tier, speed and inference_geo are open sets: any word is kept; absent is
//     standard, standard and global, and so is the geography not_available. speed and
//     inference_geo may stand beside usage, too.
//   - server_tool_use counts web searches and code_execution_seconds. Web fetches are
//     free; other tools' counts are left unread.
//
// # What nobody can price
//
// Such usage is taken, and parked (Event.Unpriceable says why): counts that contradict
// each other, a type of iteration or a state of a fallback credit that is not known, a
// count other than 0 under a name that speaks of tokens and is not known, however deep,
// and a name that is another spelling of one that decides about money (serviceTier).
// Any other name is left unread. What such an event says is compared in a canonical
// form (Event.Content), so that its repetition is known whatever its spelling.
//
// # Labels
//
// Labels are notes for people, at most 50 texts with names of up to 40 bytes and values
// of up to 200. They are never a reason to refuse usage: what is too long is cut, what
// cannot be seen falls away, what looks like a payment card's number is masked, and the
// event says so (Event.Remark).
package usage
