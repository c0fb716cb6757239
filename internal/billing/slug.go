package billing

import "regexp"

var slug = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// ValidSlug reports whether s can name an organisation, a price book or a seat
// tier: 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit.
// Such names stand in workflow ids and search attributes and are no personal data.
func ValidSlug(s string) bool { return slug.MatchString(s) }
