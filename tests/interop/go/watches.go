package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/google/uuid"

	herdbookv1 "example.com/app/herdbook/v1"
)

const longestPause = 2 * time.Second

// crowd is many watches of one reference that are open at once, each as a replica of its own.
type crowd struct {
	method    string
	reference string
	// deaf ones read nothing any more once they are open.
	deaf    bool
	retries atomic.Int64
	opened  chan struct{}
	told    chan told
}

// told is when one watch heard of a version.
type told struct {
	version    int32
	unixMicros int64
}

// holdWatches opens watches by a streaming method that answers as WatchAliases does, all at once, and prints how long
// that took: `watches METHOD REFERENCE COUNT CONNECTIONS`. Each line on standard input names a version; when all
// watches were told of it, their times are printed. Those of `deaf` instead of `watches` are opened, and never read.
func holdWatches(server string, arguments []string) error {
	count, connections, err := parseCounts(arguments)
	if err != nil {
		return fmt.Errorf("usage: watches|deaf METHOD REFERENCE COUNT CONNECTIONS: %w", err)
	}
	c := &crowd{
		deaf: arguments[0] == "deaf", method: arguments[1], reference: arguments[2],
		opened: make(chan struct{}, count), told: make(chan told, count),
	}
	began := time.Now()
	if err := c.open(server, count, connections); err != nil {
		return err
	}
	for range count {
		<-c.opened
	}
	said := json.NewEncoder(os.Stdout)
	if err := said.Encode(map[string]any{"seconds": time.Since(began).Seconds(), "retries": c.retries.Load()}); err != nil {
		return err
	}
	versions := bufio.NewScanner(os.Stdin)
	for versions.Scan() {
		version, err := strconv.ParseInt(versions.Text(), 10, 32)
		if err != nil {
			return err
		}
		if err := said.Encode(map[string]any{"told_unix_us": c.await(int32(version), count)}); err != nil {
			return err
		}
	}
	return versions.Err()
}

func parseCounts(arguments []string) (count, connections int, err error) {
	if len(arguments) != 5 {
		return 0, 0, fmt.Errorf("got %d arguments", len(arguments))
	}
	if count, err = strconv.Atoi(arguments[3]); err != nil {
		return 0, 0, err
	}
	connections, err = strconv.Atoi(arguments[4])
	return count, connections, err
}

// open starts the watches, which last as long as the process.
func (c *crowd) open(server string, count, connections int) error {
	channels := make([]*grpc.ClientConn, connections)
	for i := range channels {
		channel, err := grpc.NewClient(server, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		channels[i] = channel
	}
	for i := range count {
		go c.follow(channels[i%connections])
	}
	return nil
}

// follow holds one watch, and comes back when it ends, after a pause that grows.
func (c *crowd) follow(channel *grpc.ClientConn) {
	request := &herdbookv1.WatchAliasesRequest{
		References: []string{c.reference},
		Replica:    &herdbookv1.Replica{Id: uuid.NewString(), Name: "interop-go"},
	}
	opened := false
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, longestPause) {
		stream, err := c.begin(channel, request)
		for err == nil {
			message := &herdbookv1.WatchAliasesResponse{}
			if err = stream.RecvMsg(message); err != nil {
				break
			}
			if state := message.GetState(); state != nil {
				c.told <- told{state.GetResolution().GetVersion(), time.Now().UnixMicro()}
			} else if !opened {
				opened = true
				c.opened <- struct{}{}
				if c.deaf {
					select {}
				}
			}
		}
		c.retries.Add(1)
		time.Sleep(time.Duration(rand.Int64N(int64(pause))))
	}
}

func (c *crowd) begin(channel *grpc.ClientConn, request *herdbookv1.WatchAliasesRequest) (grpc.ClientStream, error) {
	stream, err := channel.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true}, c.method)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(request); err != nil {
		return nil, err
	}
	return stream, stream.CloseSend()
}

// await returns when each watch was told of the version; what was told of others is dropped.
func (c *crowd) await(version int32, count int) []int64 {
	times := make([]int64, 0, count)
	for len(times) < count {
		if heard := <-c.told; heard.version == version {
			times = append(times, heard.unixMicros)
		}
	}
	return times
}
