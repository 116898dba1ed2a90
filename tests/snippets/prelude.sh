# Stands before every block of a page: `keymoat serve` and `keymoat emulate` run on in the background, on free ports, until the page is over.
set -eao pipefail

keymoat() {
  case "${1:-}" in
    serve) shift; background serve serve --listen "$PLAIN" "$@" ;;
    emulate) background emulate "$@" --listen "$EMULATOR" ;;
    *) command keymoat "$@" ;;
  esac
}

# Starts the command in place of the one that NAME was, waits until it is ready, and shows what it says.
background() {
  local name="$1" log="$LOGS/$1.$(date +%N).log"
  shift
  stop "$name"
  command keymoat "$@" > "$log" 2>&1 < /dev/null &
  echo $! > "$LOGS/$name.pid"
  for _ in $(seq 300); do
    if grep -q 'ready\|^{"gateway"' "$log"; then sleep 0.1; cat "$log"; return; fi
    kill -0 $! 2> /dev/null || break
    sleep 0.05
  done
  cat "$log"
  return 1
}

stop() {
  if [ -f "$LOGS/$1.pid" ]; then
    kill "$(cat "$LOGS/$1.pid")" 2> /dev/null || true
    while kill -0 "$(cat "$LOGS/$1.pid")" 2> /dev/null; do sleep 0.02; done
    rm "$LOGS/$1.pid"
  fi
}
