#!/bin/sh
# Run a worker of a rollout, and start it again when it was killed, and after an error that passes: AWS (4), the ledger
# (5) or throttling (7). For schedulers that cannot decide by the exit code.
#
#   worker.sh PLAN... [OPTIONS OF mfa-kit rollout work]
#
# It gives up after ten ends in a row without progress, which the records of runs in the folder of --results (or beside
# the first plan) show.
#
# TERM lets the worker finish the users in progress. It is then not started again.
set -u
stopped=no worker='' status=0 results=${1:-plan} previous=''
results=${results%.*}-results
all=${PAUSES:-5 15 30 60 60 60 60 60 60 60} # seconds
pauses=$all

for word; do
    case $word in --results=*) results=${word#*=} ;; esac
    [ "$previous" != --results ] || results=$word
    previous=$word
done

stop() {
    stopped=yes
    [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null
}
trap stop TERM INT HUP

# Wait for the worker. A signal to this script ends `wait`, but not the worker.
await() {
    while :; do
        wait "$worker"
        status=$?
        [ "$status" -gt 128 ] && kill -0 "$worker" 2>/dev/null || break
    done
    worker=''
}

# The size of the records of runs. It grows with each user who is done.
recorded() {
    find "$results" -name 'record-*.jsonl' -exec cat {} + 2>/dev/null | wc -c
}

while :; do
    before=$(recorded)
    mfa-kit rollout work "$@" &
    worker=$!
    await
    case $status in
        4 | 5 | 7) ;;
        130) break ;;
        *) [ "$status" -gt 128 ] || break ;;
    esac
    [ $stopped = no ] || break
    [ "$(recorded)" = "$before" ] || pauses=$all
    pause=${pauses%% *}
    if [ "$pause" = "$pauses" ]; then
        echo "worker.sh: the worker ended with $status, again without progress; it is not started again" >&2
        break
    fi
    pauses=${pauses#* }
    echo "worker.sh: the worker ended with $status; it starts again in $pause s" >&2
    sleep "$pause" &
    worker=$!
    wait "$worker"
    worker=''
    [ $stopped = no ] || break
done
exit "$status"
