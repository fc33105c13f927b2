package main

import (
	"os"
	"regexp"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	herdbookv1 "example.com/app/herdbook/v1"
)

func TestTheWorkedExampleOfTheContractHasTheDigestItStates(t *testing.T) {
	readme, err := os.ReadFile("../../../protos/README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```json\n(.*?)```.*?and its digest is `(.*?)`").FindSubmatch(readme)
	if block == nil {
		t.Fatal("no worked example in protos/README.md")
	}
	manifest := &herdbookv1.Manifest{}
	if err := protojson.Unmarshal(block[1], manifest); err != nil {
		t.Fatal(err)
	}
	if got := manifestDigest(manifest.GetFiles()); got != string(block[2]) {
		t.Errorf("got %s, want %s", got, block[2])
	}
}
