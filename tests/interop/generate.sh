#!/usr/bin/env bash
# Generates the Go and the TypeScript stubs from protos/ with their stock generators, and cuts the examples out of protos/README.md.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=$root/.venv/bin/python
readme=$root/protos/README.md

# Runs the protoc that the Python stubs are made with.
protoc() {
  "$tools/python" -m grpc_tools.protoc "--proto_path=$root/protos" "--proto_path=$common_protos" "$@"
}

# Prints the only code block of the README in a language.
example() {
  awk -v fence="\`\`\`$1" '$0 == fence {inside = 1; next} /^```/ {inside = 0} inside' "$readme"
}

tools=$(cd "$root/protos" && "$python" -B -c 'import generate; print(generate.tools_environment())')
# google/rpc/*.proto come with googleapis-common-protos.
common_protos=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
sources=("$root"/protos/herdbook/v1/*.proto)

go_plugins=$here/build/bin
(cd "$here/go" && GOBIN=$go_plugins go install tool)
rm -rf "$here/go/herdbook" "$here/go/example"
protoc "--plugin=$go_plugins/protoc-gen-go" "--plugin=$go_plugins/protoc-gen-go-grpc" \
  "--go_out=$here/go" --go_opt=paths=source_relative \
  "--go-grpc_out=$here/go" --go-grpc_opt=paths=source_relative \
  "${sources[@]}"
mkdir -p "$here/go/example"
example go >"$here/go/example/main.go"

(cd "$here/typescript" && npm ci --ignore-scripts --silent)
rm -rf "$here/typescript/generated" "$here/typescript/build"
mkdir -p "$here/typescript/generated"
protoc "--plugin=$here/typescript/node_modules/.bin/protoc-gen-ts_proto" \
  "--ts_proto_out=$here/typescript/generated" \
  --ts_proto_opt=outputServices=grpc-js,env=node,esModuleInterop=true,importSuffix=.js,forceLong=bigint,oneof=unions-value,outputJsonMethods=false \
  "${sources[@]}" google/rpc/status.proto google/rpc/error_details.proto
example typescript >"$here/typescript/example.ts"
