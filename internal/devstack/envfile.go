package devstack

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// envHeader begins every file that WriteEnvFile wrote.
const envHeader = "# Written by `starter dev`: how to reach a running development stack.\n"

// WriteEnvFile writes KEY=value lines that a shell takes with
//
//	set -a; . ./.env
//
// readable by the owner only, because there are keys among them. The file
// appears whole or not at all.
func WriteEnvFile(path string, env map[string]string) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write the environment: %w", err)
	}
	defer func() { _ = os.Remove(file.Name()) }() // of no avail once renamed
	_, err = file.WriteString(envText(env))
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write the environment to %s: %w", path, err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("write the environment: %w", err)
	}
	return nil
}

// envText is the content of an environment file.
func envText(env map[string]string) string {
	var text strings.Builder
	text.WriteString(envHeader)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		text.WriteString(name + "=" + shellQuote(env[name]) + "\n")
	}
	return text.String()
}

// removeEnvFile removes an environment file that ours says is so, so that a
// script that waits for the file does not meet a stack that is gone.
func removeEnvFile(path string, ours func(text string) bool) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("environment file: %w", err)
	}
	if !ours(string(content)) {
		return nil
	}
	return os.Remove(path)
}

// writtenByUs says whether some stack wrote an environment file. Anybody
// else's stays until there is a better one.
func writtenByUs(text string) bool { return strings.HasPrefix(text, envHeader) }

// plain is what a shell takes as it is.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]*$`)

// shellQuote makes a shell read text as it is.
func shellQuote(text string) string {
	if plain.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
