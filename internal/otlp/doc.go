// Package otlp reads exports of OpenTelemetry log records and finds the billable
// requests in them. It owns what such a record says and what it does not; it
// knows nothing of prices, storage or HTTP.
//
// An export is an ExportLogsServiceRequest in protobuf, or in JSON by the mapping
// of OTLP (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).
//
// # What is billable
//
// Claude Code reports each request to the model's API as an event
// "claude_code.api_request" (https://code.claude.com/docs/en/monitoring-usage).
// Its input_tokens are the uncached part, as in the API's own usage object.
// Records of any other name are counted and left alone. So are those of the
// GenAI conventions: their gen_ai.usage.input_tokens includes what was read from
// and written to the cache
// (https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/), so to bill
// it as input would bill the cache twice, at the wrong price.
//
// # What a record says
//
//   - Its id is the API's request_id; else session.id, event.sequence and the
//     time, since a resumed session keeps its id and counts from 0 again; else, in
//     versions that send neither, a digest of what identifies the request.
//   - Its time is the attribute event.timestamp, else the record's own.
//   - Counts and costs are numbers, or text in versions before 2.1.
//   - The cache writes are divided where the attributes cache_creation_5m_tokens
//     and cache_creation_1h_tokens are there and say how (2.1.332 has them, 2.1.291
//     does not).
//   - arrears.organization, arrears.user and arrears.product are attributes of the
//     resource, which whoever runs a collector sets.
package otlp
