package main

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	herdbookv1 "example.com/app/herdbook/v1"
)

// register makes a version of files, and again with the same request_id: a retry must not make another.
func (s *session) register(ctx context.Context, files []*herdbookv1.File) (*herdbookv1.Version, error) {
	request := &herdbookv1.RegisterVersionRequest{
		Version:   s.record(),
		Manifest:  &herdbookv1.Manifest{Files: files},
		Reason:    "interop",
		RequestId: uuid.NewString(),
	}
	response, err := s.versions.RegisterVersion(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("RegisterVersion: %w", err)
	}
	again, err := s.versions.RegisterVersion(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("RegisterVersion, retried: %w", err)
	}
	version := response.GetVersion()
	if err := s.checkRecord(version, files); err != nil {
		return nil, err
	}
	say("registered %s:%d, %d bytes, %s", s.model, version.GetNumber(), version.GetSizeBytes(), version.GetDigest())
	return version, same("version of the retry", again.GetVersion().GetNumber(), version.GetNumber())
}

// record is what each version says about itself.
func (s *session) record() *herdbookv1.Version {
	return &herdbookv1.Version{
		Model:        s.model,
		Description:  "Registered from **Go**",
		Tags:         map[string]string{"team": "interop", "language": "go"},
		Params:       map[string]string{"learning_rate": "0.01"},
		Metrics:      map[string]float64{"rmse": 6.25, "r2": -0.5},
		Signature:    signature(),
		InputExample: structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewNumberValue(1.5)}}),
		Framework:    "none",
		Format:       "raw",
		Lineage:      &herdbookv1.Lineage{RunId: "run-1", TrainingDuration: durationpb.New(1_500_000_000)},
	}
}

func signature() *herdbookv1.Signature {
	return &herdbookv1.Signature{
		Inputs:  []*herdbookv1.TensorSpec{{Name: "x", Dtype: "float32", Shape: []int64{-1, 13}}},
		Outputs: []*herdbookv1.TensorSpec{{Dtype: "float32", Shape: []int64{-1}}},
		Params:  []*herdbookv1.TensorSpec{{Name: "temperature", Dtype: "float64", Optional: true}},
	}
}

// checkRecord compares what the server keeps with what was sent and with what follows from the files.
func (s *session) checkRecord(version *herdbookv1.Version, files []*herdbookv1.File) error {
	sent := s.record()
	return firstOf(
		same("model", version.GetModel(), s.model),
		same("description", version.GetDescription(), sent.Description),
		same("tags", fmt.Sprint(version.GetTags()), fmt.Sprint(sent.Tags)),
		same("params", fmt.Sprint(version.GetParams()), fmt.Sprint(sent.Params)),
		same("metrics", fmt.Sprint(version.GetMetrics()), fmt.Sprint(sent.Metrics)),
		same("signature kept", proto.Equal(version.GetSignature(), sent.Signature), true),
		same("input example kept", proto.Equal(version.GetInputExample(), sent.InputExample), true),
		same("lineage kept", proto.Equal(version.GetLineage(), sent.Lineage), true),
		same("stage", version.GetStage(), herdbookv1.Stage_STAGE_NONE),
		same("digest", version.GetDigest(), manifestDigest(files)),
		same("file_count", int(version.GetFileCount()), len(files)),
		same("size_bytes", version.GetSizeBytes(), totalBytes(files)),
		same("created_at given", version.GetCreatedAt().IsValid(), true),
		same("author given", version.GetAuthor() != "", true),
	)
}

// moveAlias moves the alias by compare-and-set; from 0 means that it does not exist yet.
func (s *session) moveAlias(ctx context.Context, from, to int32) error {
	response, err := s.aliases.SetAlias(ctx, &herdbookv1.SetAliasRequest{
		Model:           s.model,
		Alias:           alias,
		Version:         to,
		ExpectedVersion: proto.Int32(from),
		Reason:          "interop",
		RequestId:       uuid.NewString(),
	})
	if err != nil {
		return fmt.Errorf("SetAlias: %w", err)
	}
	say("moved %s from %d to %d", s.reference(), from, to)
	return firstOf(
		same("version of the alias", response.GetAlias().GetVersion(), to),
		same("previous_version", response.GetPreviousVersion(), from),
	)
}

func (s *session) resolve(ctx context.Context, version *herdbookv1.Version) error {
	response, err := s.versions.ResolveReference(ctx, &herdbookv1.ResolveReferenceRequest{Reference: s.reference()})
	if err != nil {
		return fmt.Errorf("ResolveReference: %w", err)
	}
	resolution := response.GetResolution()
	say("resolved %s to %d", s.reference(), resolution.GetVersion())
	return firstOf(
		same("resolved model", resolution.GetModel(), s.model),
		same("resolved version", resolution.GetVersion(), version.GetNumber()),
		same("resolved digest", resolution.GetDigest(), version.GetDigest()),
		same("resolved size_bytes", resolution.GetSizeBytes(), version.GetSizeBytes()),
	)
}

// loseTheRace expects a version that the alias has left, and reads the reason from the error's details.
func (s *session) loseTheRace(ctx context.Context, expected, current int32) error {
	_, err := s.aliases.SetAlias(ctx, &herdbookv1.SetAliasRequest{
		Model: s.model, Alias: alias, Version: expected, ExpectedVersion: proto.Int32(expected),
	})
	info, found := errorInfo(err)
	if !found {
		return fmt.Errorf("SetAlias with a stale expected_version: no ErrorInfo in %v", err)
	}
	say("lost a race as told: %s %s %v: %s", status.Code(err), info.GetReason(), info.GetMetadata(), status.Convert(err).Message())
	return firstOf(
		same("code", status.Code(err), codes.Aborted),
		same("reason", info.GetReason(), "ALIAS_MOVED"),
		same("domain", info.GetDomain(), "herdbook"),
		same("current_version", info.GetMetadata()["current_version"], fmt.Sprint(current)),
	)
}

func errorInfo(err error) (*errdetails.ErrorInfo, bool) {
	for _, detail := range status.Convert(err).Details() {
		if info, is := detail.(*errdetails.ErrorInfo); is {
			return info, true
		}
	}
	return nil, false
}
