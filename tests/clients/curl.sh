#!/bin/sh
# The curl program against a gateway with the demo model, with the lines that the start-up banner and the docs show. 77: no curl here.
# curl.sh http://127.0.0.1:PORT
set -eu
url=${1:?usage: curl.sh http://127.0.0.1:PORT}
command -v curl >/dev/null || exit 77
failed=0

say='"messages":[{"role":"user","content":"What colour is the sky?"}],"temperature":0'
ask() { curl -sS --max-time 60 "$@" 2>&1; }
post() { path=$1; shift; ask "$url$path" -H 'Content-Type: application/json' "$@"; }

# scenario NAME EXPECTED FOUND: what is found has the expected text in it
scenario() {
  case $3 in
  *"$2"*) echo "ok   curl: $1" ;;
  *) echo "FAIL curl: $1: expected $2, found $3"; failed=1 ;;
  esac
}

scenario "models" '"id":"stip"' "$(ask "$url/v1/models")"
scenario "chat" '"content":"The sky is blue."' "$(post /v1/chat/completions -d "{\"model\":\"stip\",$say}")"

events=$(post /v1/chat/completions -N -d "{\"model\":\"stip\",\"stream\":true,$say}")
scenario "chat, streamed" "The sky is blue." "$(printf '%s\n' "$events" | sed -n 's/.*"delta":{"content":"\([^"]*\)".*/\1/p' | tr -d '\n')"
scenario "chat, streamed, ends" "data: [DONE]" "$(printf '%s\n' "$events" | tail -n 2)"

scenario "completions" '"completion_tokens":4' "$(post /v1/completions -d '{"prompt":"Once upon a time","max_tokens":4}')"
scenario "embeddings" '"embedding":[' "$(post /v1/embeddings -d '{"input":"a fox"}')"
scenario "tokenize" '{"tokens":[' "$(post /tokenize -d '{"content":"a fox"}')"
scenario "an error and its status" '"param":"n"' "$(post /v1/chat/completions -d "{\"n\":2,$say}")"
scenario "its status" 400 "$(post /v1/chat/completions -o /dev/null -w '%{http_code}' -d "{\"n\":2,$say}")"
exit $failed
