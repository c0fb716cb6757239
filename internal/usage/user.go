package usage

// CheckUser says what is wrong with a text as the id of a user in events, or
// nothing: what no event can name must not be promised to anybody.
func CheckUser(user string) string { return checkID([]byte(user)) }
