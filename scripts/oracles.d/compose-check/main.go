// compose-check loads a Compose file as Docker Compose does, with its own library, and prints the project as JSON:
// interpolated, profiles applied, references checked. Nothing is started, and no Docker is needed.
//
//	compose-check [--env-file FILE] [--profile NAME,...] docker-compose.yml
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	envFile := flag.String("env-file", "", "as docker compose --env-file")
	profiles := flag.String("profile", "", "as docker compose --profile, comma between")
	flag.Parse()
	if err := run(*envFile, *profiles, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(envFile, profiles string, files []string) error {
	var envFiles, active []string
	if envFile != "" {
		envFiles = []string{envFile}
	}
	if profiles != "" {
		active = strings.Split(profiles, ",")
	}
	options, err := cli.NewProjectOptions(files,
		cli.WithOsEnv,
		cli.WithEnvFiles(envFiles...),
		cli.WithDotEnv,
		cli.WithDefaultProfiles(active...),
	)
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(project, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Println(string(text))
	return err
}
