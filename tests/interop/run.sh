#!/usr/bin/env bash
# Builds the Go and the TypeScript program from protos/, starts a server, and runs both against it: run.sh
# Against a server that runs already: run.sh HOST:PORT
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
scratch=$(mktemp -d)
server=${1:-}
server_pid=
readonly start_deadline_seconds=30

stop_server() {
  if [[ -n $server_pid ]]; then
    kill "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
  fi
  rm -rf "$scratch"
}
trap stop_server EXIT

build() {
  "$here/generate.sh"
  (cd "$here/go" && go vet ./... && go test ./... && go build -o "$here/build/interop-go" .)
  (cd "$here/typescript" && npm exec --silent -- tsc)
}

start_server() {
  local port
  port=$("$root/.venv/bin/python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
  server=127.0.0.1:$port
  "$root/.venv/bin/herdbook" serve --data "$scratch/data" --listen "$server" >"$scratch/server.log" 2>&1 &
  server_pid=$!
  if ! "$root/.venv/bin/python" "$here/await_server.py" "$server" "$start_deadline_seconds" "$server_pid"; then
    cat "$scratch/server.log" >&2
    exit 1
  fi
}

passed=0
failed=0

run() {
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

# Writes a file by the Go program, as the benchmark does, and reads it back.
go_file() {
  local model=interop/go-file-$RANDOM$RANDOM
  mkdir "$scratch/read"
  head -c 5000000 /dev/urandom >"$scratch/weights"
  "$here/build/interop-go" write "$model" "$scratch/weights" &&
    "$here/build/interop-go" read "$model" 1 "$scratch/read/weights" &&
    cmp "$scratch/weights" "$scratch/read/weights"
}

# Holds watches, as the benchmark does, until standard input ends.
go_watches() {
  "$here/build/interop-go" watches /herdbook.v1.AliasService/WatchAliases interop/none@champion 20 2 </dev/null
}

build
[[ -n $server ]] || start_server
export HERDBOOK_SERVER=$server
run "$here/build/interop-go"
run go_file
run go_watches
run node "$here/typescript/build/source/main.js"
if ((failed)) && [[ -n $server_pid ]]; then cat "$scratch/server.log" >&2; fi
echo "$passed passed, $failed failed"
exit $((failed > 0))
