// Command interop uses a running Herdbook server through stubs made by the stock Go generators, and checks every answer.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	herdbookv1 "example.com/app/herdbook/v1"
)

const (
	deadline = 60 * time.Second
	alias    = "champion"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "go: FAILED:", err)
		os.Exit(1)
	}
	if len(os.Args) == 1 {
		fmt.Println("go: everything is as it should be")
	}
}

func run() error {
	server := os.Getenv("HERDBOOK_SERVER")
	if server == "" {
		return fmt.Errorf("HERDBOOK_SERVER is not set: give the HOST:PORT of a running server")
	}
	if len(os.Args) > 1 && (os.Args[1] == "watches" || os.Args[1] == "deaf") {
		return holdWatches(server, os.Args[1:])
	}
	connection, err := grpc.NewClient(server, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	if len(os.Args) > 1 {
		return newSession(connection).transfer(os.Args[1:])
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	return newSession(connection).play(ctx)
}

// session is one run against one new model.
type session struct {
	versions  herdbookv1.VersionServiceClient
	aliases   herdbookv1.AliasServiceClient
	artifacts herdbookv1.ArtifactServiceClient
	model     string
}

func newSession(connection *grpc.ClientConn) *session {
	return &session{
		versions:  herdbookv1.NewVersionServiceClient(connection),
		aliases:   herdbookv1.NewAliasServiceClient(connection),
		artifacts: herdbookv1.NewArtifactServiceClient(connection),
		model:     "interop/go-" + uuid.NewString(),
	}
}

func (s *session) reference() string { return s.model + "@" + alias }

// play tells the whole story: two versions, an alias that moves under a watch, and the bytes back.
func (s *session) play(ctx context.Context) error {
	contents := map[string][]byte{
		"weights/model.bin": randomBytes(5<<20 + 12_345),
		"config.json":       []byte(`{"layers": 2}`),
		"empty.txt":         {},
		// The bytes of these paths sort otherwise than their UTF-16 units.
		"labels/～.txt": []byte("tilde"),
		"labels/😀.txt": []byte("grin"),
	}
	first, err := s.writeAndRegister(ctx, contents)
	if err != nil {
		return err
	}
	if err := s.moveAlias(ctx, 0, first.GetNumber()); err != nil {
		return err
	}
	watch, err := s.openWatch(ctx, first)
	if err != nil {
		return err
	}
	contents["config.json"] = []byte(`{"layers": 3}`)
	second, err := s.pushAndRegister(ctx, first, contents)
	if err != nil {
		return err
	}
	if err := s.moveAlias(ctx, first.GetNumber(), second.GetNumber()); err != nil {
		return err
	}
	if err := watch.awaitMove(second); err != nil {
		return err
	}
	return s.readBack(ctx, first, second, contents)
}

// readBack reads the second version in every way, and provokes a lost race for the alias.
func (s *session) readBack(ctx context.Context, first, second *herdbookv1.Version, contents map[string][]byte) error {
	if err := s.resolve(ctx, second); err != nil {
		return err
	}
	if err := s.readFiles(ctx, second, contents); err != nil {
		return err
	}
	if err := s.pull(ctx, second, contents); err != nil {
		return err
	}
	return s.loseTheRace(ctx, first.GetNumber(), second.GetNumber())
}

// randomBytes are new in each run, so that none of their chunks is in the store.
func randomBytes(size int) []byte {
	data := make([]byte, size)
	rand.NewChaCha8(sha256.Sum256([]byte(uuid.NewString()))).Read(data)
	return data
}

func say(format string, arguments ...any) { fmt.Printf("go: "+format+"\n", arguments...) }
