package devstack

import (
	"bufio"
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
	out := bufio.NewWriter(file)
	_, _ = out.WriteString(envHeader) // a bufio.Writer keeps its error for Flush
	for _, name := range slices.Sorted(maps.Keys(env)) {
		_, _ = out.WriteString(name + "=" + shellQuote(env[name]) + "\n")
	}
	if err := errors.Join(out.Flush(), file.Close()); err != nil {
		return fmt.Errorf("write the environment to %s: %w", path, err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("write the environment: %w", err)
	}
	return nil
}

// removeEnvFile removes what an earlier stack wrote, so that a script that
// waits for the file does not meet a stack that is gone. Anybody else's file
// stays until it is written over.
func removeEnvFile(path string) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("environment file: %w", err)
	}
	if !strings.HasPrefix(string(content), envHeader) {
		return nil
	}
	return os.Remove(path)
}

// plain is what a shell takes as it is.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]*$`)

// shellQuote makes a shell read text as it is.
func shellQuote(text string) string {
	if plain.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
