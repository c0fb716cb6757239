// Package composecheck checks docker-compose.yml without a container engine.
// It is a module of its own, so that the compose library's dependencies never
// meet the product's.
package composecheck

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
)

const root = "../../.."

// required must be set; the values open nothing.
var required = map[string]string{
	"POSTGRES_PASSWORD":     "p@ss word",
	"STRIPE_SECRET_KEY":     "sk_test_check",
	"STRIPE_WEBHOOK_SECRET": "whsec_check",
	"ARREARS_API_KEY":       "key-of-sixteen-characters",
}

func TestCompose(t *testing.T) {
	t.Parallel()
	project, err := load(t, required)
	require.NoError(t, err)

	t.Run("all of the system is there", func(t *testing.T) {
		t.Parallel()
		require.ElementsMatch(t, []string{
			"postgres", "temporal-schema", "temporal", "temporal-namespace", "temporal-ui",
			"migrate", "worker", "gateway", "starter", "stripe",
		}, project.ServiceNames())
	})

	t.Run("no profile is needed but for the extras", func(t *testing.T) {
		t.Parallel()
		for name, service := range project.Services {
			switch name {
			case "starter", "stripe":
				require.NotEmpty(t, service.Profiles, name)
			default:
				require.Empty(t, service.Profiles, name)
			}
		}
	})

	t.Run("images are pinned to a version", func(t *testing.T) {
		t.Parallel()
		for name, service := range project.Services {
			if service.Build != nil {
				continue // its Dockerfile is checked instead
			}
			requirePinned(t, name, service.Image)
		}
	})

	t.Run("dependencies exist, can be met and do not go in circles", func(t *testing.T) {
		t.Parallel()
		for name := range project.Services {
			requireNoCircle(t, project, name, nil)
		}
		for name, service := range project.Services {
			for on, dependency := range service.DependsOn {
				target, err := project.GetService(on)
				require.NoError(t, err, name)
				switch dependency.Condition {
				case types.ServiceConditionHealthy:
					require.NotNil(t, target.HealthCheck, "%s waits for %s, which says nothing of its health", name, on)
				case types.ServiceConditionCompletedSuccessfully:
					require.True(t, strings.HasPrefix(target.Restart, "on-failure"), "%s waits for the end of %s", name, on)
				default:
					t.Errorf("%s does not say what it waits for in %s", name, on)
				}
			}
		}
	})

	t.Run("ports are open to this machine only", func(t *testing.T) {
		t.Parallel()
		published := map[string]string{}
		for name, service := range project.Services {
			for _, port := range service.Ports {
				require.Equal(t, "127.0.0.1", port.HostIP, name)
				require.Empty(t, published[port.Published], "two services on port %s", port.Published)
				published[port.Published] = name
			}
		}
		require.Equal(t, map[string]string{"7233": "temporal", "8080": "gateway", "8233": "temporal-ui"}, published)
	})

	t.Run("the product runs without privileges", func(t *testing.T) {
		t.Parallel()
		for name, service := range project.Services {
			if service.Build == nil {
				continue
			}
			require.True(t, service.ReadOnly, name)
			require.Equal(t, []string{"ALL"}, service.CapDrop, name)
			require.Contains(t, service.SecurityOpt, "no-new-privileges:true", name)
		}
	})

	t.Run("configs and volumes are declared", func(t *testing.T) {
		t.Parallel()
		for name, service := range project.Services {
			for _, config := range service.Configs {
				require.Contains(t, project.Configs, config.Source, name)
			}
			for _, volume := range service.Volumes {
				require.Contains(t, project.Volumes, volume.Source, name)
			}
		}
	})
}

func TestVariables(t *testing.T) {
	t.Parallel()
	text := read(t, "docker-compose.yml")
	header, body, found := strings.Cut(text, "\nname: ")
	require.True(t, found)

	t.Run("each is explained at the top, and nothing else is", func(t *testing.T) {
		t.Parallel()
		var used, explained []string
		for _, match := range regexp.MustCompile(`[^$]\$\{([A-Z_]+)`).FindAllStringSubmatch(body, -1) {
			used = append(used, match[1])
		}
		for _, match := range regexp.MustCompile(`(?m)^#   ([A-Z_]+)  +`).FindAllStringSubmatch(header, -1) {
			explained = append(explained, match[1])
		}
		require.ElementsMatch(t, unique(used), unique(explained))
	})

	t.Run("what is secret has no default, and is asked for by name", func(t *testing.T) {
		t.Parallel()
		for missing := range required {
			env := map[string]string{}
			for name, value := range required {
				if name != missing {
					env[name] = value
				}
			}
			_, err := load(t, env)
			require.ErrorContains(t, err, missing)
		}
	})
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	project, err := load(t, required)
	require.NoError(t, err)
	for name, service := range project.Services {
		if service.Build != nil {
			require.Equal(t, "internal/devstack/Dockerfile", service.Build.Dockerfile, name)
		}
	}
	text := read(t, "internal/devstack/Dockerfile")
	stages := map[string]bool{"scratch": true}
	for _, match := range regexp.MustCompile(`(?m)^FROM (\S+)(?: AS (\S+))?$`).FindAllStringSubmatch(text, -1) {
		if !stages[match[1]] {
			requirePinned(t, "Dockerfile", match[1])
		}
		stages[match[2]] = true
	}
	require.Regexp(t, `(?m)^USER [1-9]\d*:[1-9]\d*$`, text, "not root")
	for _, program := range []string{"starter", "worker"} {
		require.Contains(t, text, "./"+program)
		require.DirExists(t, filepath.Join(root, program))
	}
	for _, line := range strings.Split(read(t, "internal/devstack/Dockerfile.dockerignore"), "\n") {
		if kept, ok := strings.CutPrefix(line, "!"); ok {
			_, err := os.Stat(filepath.Join(root, kept))
			require.NoError(t, err)
		}
	}
}

// TestCommands asks the program itself, as `make build` made it, whether it
// knows the commands and flags that the services use.
func TestCommands(t *testing.T) {
	t.Parallel()
	starter, err := filepath.Abs(filepath.Join(root, "bin", "starter"))
	require.NoError(t, err)
	require.FileExists(t, starter, "run make build first")
	require.FileExists(t, filepath.Join(root, "bin", "worker"), "run make build first")
	project, err := load(t, required)
	require.NoError(t, err)
	asked := 0
	for name, service := range project.Services {
		if service.Build == nil || len(service.Command) == 0 {
			continue
		}
		words := service.Command[:len(service.Command):len(service.Command)]
		out, err := exec.CommandContext(t.Context(), starter, append(words, "--help")...).CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
		command := "starter"
		for _, word := range service.Command {
			if strings.HasPrefix(word, "-") {
				break
			}
			command += " " + word
		}
		require.Contains(t, string(out), command, name)
		asked++
	}
	require.Equal(t, 3, asked, "migrate, gateway and stripe")
}

// load reads docker-compose.yml as Compose would, with all profiles on and
// nothing but env in the environment.
func load(t *testing.T, env map[string]string) (*types.Project, error) {
	t.Helper()
	var environ []string
	for name, value := range env {
		environ = append(environ, name+"="+value)
	}
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")},
		cli.WithEnv(environ), cli.WithProfiles([]string{"*"}), cli.WithInterpolation(true), cli.WithResolvedPaths(false))
	require.NoError(t, err)
	return options.LoadProject(t.Context())
}

var version = regexp.MustCompile(`^v?\d+\.\d+(\.\d+)?([.-][a-z0-9.-]+)?$`)

// requirePinned wants a tag that names at least a minor version.
func requirePinned(t *testing.T, where, image string) {
	t.Helper()
	require.NotContains(t, image, "$", where)
	name, _, _ := strings.Cut(image, "@")
	tag := ""
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		tag = name[colon+1:]
	}
	require.Regexp(t, version, tag, "%s: %s", where, image)
}

// requireNoCircle follows the dependencies of a service.
func requireNoCircle(t *testing.T, project *types.Project, name string, path []string) {
	t.Helper()
	require.NotContains(t, path, name, "a circle")
	service, err := project.GetService(name)
	require.NoError(t, err)
	for on := range service.DependsOn {
		requireNoCircle(t, project, on, append(slices.Clone(path), name))
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(content)
}

func unique(words []string) []string {
	slices.Sort(words)
	return slices.Compact(words)
}
