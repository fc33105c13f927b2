package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	herdbookv1 "example.com/app/herdbook/v1"
)

// transfer moves one file and prints how long that took: `write MODEL FILE`, which makes a version of it, or
// `read MODEL NUMBER FILE`, which reads the file of that name from a version. Nothing limits its time.
func (s *session) transfer(arguments []string) error {
	began := time.Now()
	var err error
	switch {
	case len(arguments) == 3 && arguments[0] == "write":
		s.model = arguments[1]
		err = s.writeFrom(context.Background(), arguments[2])
	case len(arguments) == 4 && arguments[0] == "read":
		s.model = arguments[1]
		err = s.readTo(context.Background(), arguments[2], arguments[3])
	default:
		err = fmt.Errorf("usage: write MODEL FILE | read MODEL NUMBER FILE")
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{"seconds": time.Since(began).Seconds()})
}

// writeFrom streams a local file by WriteFile and registers a version of it.
func (s *session) writeFrom(ctx context.Context, name string) error {
	source, err := os.Open(name)
	if err != nil {
		return err
	}
	defer source.Close()
	stream, err := s.artifacts.WriteFile(ctx)
	if err != nil {
		return fmt.Errorf("WriteFile: %w", err)
	}
	request := &herdbookv1.WriteFileRequest{Model: s.model, Path: filepath.Base(name)}
	piece := make([]byte, 2*pieceBytes)
	for {
		count, err := source.Read(piece)
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		request.Data = piece[:count]
		// io.EOF means that the server has answered already: CloseAndRecv tells why.
		if err := stream.Send(request); err == io.EOF {
			break
		} else if err != nil {
			return fmt.Errorf("WriteFile: %w", err)
		}
		request = &herdbookv1.WriteFileRequest{}
	}
	response, err := stream.CloseAndRecv()
	if err != nil {
		return fmt.Errorf("WriteFile: %w", err)
	}
	_, err = s.register(ctx, []*herdbookv1.File{response.GetFile()})
	return err
}

// readTo streams a file of a version by ReadFile to a local one.
func (s *session) readTo(ctx context.Context, number, name string) error {
	if _, err := strconv.Atoi(number); err != nil {
		return fmt.Errorf("a version has a number: %w", err)
	}
	target, err := os.Create(name)
	if err != nil {
		return err
	}
	defer target.Close()
	stream, err := s.artifacts.ReadFile(ctx, &herdbookv1.ReadFileRequest{
		Reference: s.model + ":" + number, Path: filepath.Base(name),
	})
	if err != nil {
		return fmt.Errorf("ReadFile: %w", err)
	}
	buffered := bufio.NewWriterSize(target, pieceBytes)
	for {
		part, err := stream.Recv()
		if err == io.EOF {
			return buffered.Flush()
		} else if err != nil {
			return fmt.Errorf("ReadFile: %w", err)
		}
		if _, err := buffered.Write(part.GetData()); err != nil {
			return err
		}
	}
}
