package usage

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// member is the example with another member and id, as a month of usage has them.
func member(n int) string {
	line := strings.Replace(full, "user_00013", fmt.Sprintf("user_%05d", n%200), 1)
	return strings.Replace(line, "evt_01", fmt.Sprintf("evt_%08d", n), 1)
}

func BenchmarkDecode(b *testing.B) {
	lines := map[string]func(int) string{
		"typical": member,
		"labels": func(n int) string {
			return strings.Replace(member(n), `"usage"`, `"labels":{"cost_centre":"42","team":"search"},"usage"`, 1)
		},
		"rejected": func(n int) string { return strings.Replace(member(n), `"output_tokens":8`, `"output_tokens":-8`, 1) },
		"100k members": func(n int) string {
			return strings.Replace(full, "user_00013", fmt.Sprintf("user_%05d", n*7919%100_000), 1)
		},
	}
	for name, line := range lines {
		b.Run(name, func(b *testing.B) {
			events := make([][]byte, 1<<14)
			for i := range events {
				events[i] = []byte(line(i))
			}
			b.SetBytes(int64(len(events[0])))
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				_, _ = Decode(events[i%len(events)])
			}
		})
	}
}

func BenchmarkHostile(b *testing.B) {
	for _, names := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(names), func(b *testing.B) {
			line := []byte(withUsage(`"x":` + hostile(names, "0")))
			for b.Loop() {
				_, _ = Decode(line)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*names), "ns/name")
		})
	}
}

func BenchmarkDecodeAll(b *testing.B) {
	const events = 100_000
	var file bytes.Buffer
	for i := range events {
		file.WriteString(member(i))
		file.WriteByte('\n')
	}
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			b.SetBytes(int64(file.Len()))
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				err := DecodeAll(context.Background(), bytes.NewReader(file.Bytes()), Options{Workers: workers}, func(items []Item) error {
					n += len(items)
					return nil
				})
				if err != nil || n != events {
					b.Fatal(n, err)
				}
			}
			b.ReportMetric(float64(events*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkShapes decodes the plain shape and those of the field in turns, and reports
// the medians of the ratios of their speeds in events: of the shapes of the Messages
// API, and of those of other interfaces, which are parked for their unknown counts.
func BenchmarkShapes(b *testing.B) {
	lines := map[string][][]byte{}
	for i, s := range shapes(b) {
		of := "messages"
		if event, _ := Decode(s.line(b)); event.Unpriceable != "" {
			of = "unpriceable"
		}
		lines[of], lines["plain"] = append(lines[of], s.line(b)), append(lines["plain"], []byte(member(i)))
	}
	took := func(lines [][]byte) float64 {
		start := time.Now()
		for _, line := range lines {
			_, _ = Decode(line)
		}
		return float64(time.Since(start)) / float64(len(lines))
	}
	ratios := map[string][]float64{}
	for b.Loop() {
		plain := took(lines["plain"])
		for _, of := range []string{"messages", "unpriceable"} {
			ratios[of] = append(ratios[of], plain/took(lines[of]))
		}
	}
	for of, all := range ratios {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], of+"/plain")
		b.ReportMetric(float64(len(lines[of])), of)
	}
}
