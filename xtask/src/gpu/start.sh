#!/bin/sh
# Does what is left of the plan on a machine with a GPU that has neither cargo nor a network. Run it in the folder of the
# repository (or name that in CLAPP_ROOT). Each step of `plan` has its own time limit and its own log. A step that fails
# stops nothing, and is tried once more in a later call. What is done is remembered in CLAPP_KEEP [/tmp/clapp-keep], where
# the programs and the data of all calls are kept as well.
#
#   --results FOLDER  where the results go: at most 8 files [clapp-gpu-results]
#   --seconds COUNT   time for this call [580]
#   --done NAME,NAME  steps that another machine has done already
#   --rehearse        everything in small on the emulated GPU: shows that the pack works, measures nothing
#
# Exit code 0: nothing has failed. 1: a step has failed. 2: wrong arguments.
here=$(cd "$(dirname "$0")" && pwd) || exit 2
results=clapp-gpu-results seconds=580 others= backend=cuda small=
while [ $# -gt 0 ]; do
    case $1 in
        --rehearse) backend=emulated small=--dry-run; shift; continue ;;
        --results | --seconds | --done) [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; } ;;
        *) echo "$1: expected --results FOLDER, --seconds COUNT, --done NAME,NAME or --rehearse" >&2; exit 2 ;;
    esac
    case $1 in
        --results) results=$2 ;;
        --seconds) seconds=$2 ;;
        --done) others=$2 ;;
    esac
    shift 2
done
case $seconds in '' | *[!0-9]*) echo "--seconds $seconds: expected a whole number" >&2; exit 2 ;; esac

now() { date +%s; }
begin=$(now)
call=$begin.$$
end=$((begin + seconds))
commit=$(cat "$here/commit")
keep=${CLAPP_KEEP:-/tmp/clapp-keep}
work=$keep/$commit
logs=$work/logs state=$work/state kept=$work/results
mkdir -p "$logs" "$state" "$kept" "$keep/data" "$work/cache" "$results" || exit 2
results=$(cd "$results" && pwd)
export CLAPP_ROOT="${CLAPP_ROOT:-$(pwd)}" CLAPP_COMMIT="$commit" CLAPP_CACHE="${CLAPP_CACHE:-$work/cache}"
export PATH="$PATH:/usr/local/cuda/bin"

# Programs, kernels, vectors, and this call's part of the data.
unpack() {
    cp "$here/xtask" "$work/xtask.new" && chmod +x "$work/xtask.new" && mv "$work/xtask.new" "$work/xtask" || return 1
    timeout -k 5 60 "$work/xtask" gpu --unpack "$here/programs" --into "$work" && chmod +x "$work/clapp"
    timeout -k 5 60 "$work/xtask" gpu --unpack "$here/data" --into "$keep/data"
    # Kernels that are compiled already need no compiler here.
    [ ! -d "$here/cubins" ] || timeout -k 5 60 "$work/xtask" gpu --unpack "$here/cubins" --into "$CLAPP_CACHE"
    [ ! -d "$here/golden" ] || { rm -rf "${work:?}/golden" && cp -R "$here/golden" "$work/golden"; }
}
unpack >"$logs/unpack.log" 2>&1

libraries=$(timeout -k 5 20 sh "$here/links.sh" "$work/links" 2>"$logs/links.log")
echo "$libraries" >>"$logs/links.log"
if [ -n "$libraries" ]; then
    export CLAPP_CUDA_LIBRARIES="$work/links${CLAPP_CUDA_LIBRARIES:+:$CLAPP_CUDA_LIBRARIES}"
    for place in $libraries; do
        LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$place
    done
    export LD_LIBRARY_PATH="$work/links:$LD_LIBRARY_PATH"
fi

# Asked once on each machine: PyTorch takes seconds to start.
torch=no
if [ ! -e "$state/torch" ]; then
    echo no >"$state/torch"
    timeout -k 5 60 python3 -c "import torch" >"$logs/torch.log" 2>&1 && echo yes >"$state/torch"
fi
torch=$(cat "$state/torch")

set -- --backend "$backend" --clapp "$work/clapp" --results "$kept" --runs "$work/runs" --golden "$work/golden" --partial
[ -z "$small" ] || set -- "$@" "$small"
[ "$torch" = no ] || set -- "$@" --python "$(command -v python3)"

batches=0 test_batch=no
for batch in "$keep"/data/data_batch_*.bin; do
    [ ! -e "$batch" ] || batches=$((batches + 1))
done
[ ! -e "$keep/data/test_batch.bin" ] || test_batch=yes
[ "$batches" = 0 ] || [ "$test_batch" = no ] || set -- "$@" --data "$keep/data"

# Why a step cannot run now; nothing where it can.
lacking() {
    case $1 in
        torch) [ "$torch" = yes ] || echo "no PyTorch here" ;;
        golden) [ -d "$work/golden" ] || echo "no golden vectors here" ;;
        sanitizer)
            [ "$backend" = cuda ] || { echo "needs a GPU"; return; }
            command -v compute-sanitizer >/dev/null 2>&1 || echo "no compute-sanitizer here" ;;
        data)
            # The whole set where a later call brings the rest.
            if [ "$batches" = 0 ] || [ "$test_batch" = no ]; then echo "no test batch, or no training batch, here"
            elif [ "$batches" -lt 5 ] && [ ! -e "$here/last" ]; then echo "a later call brings the other batches"; fi ;;
    esac
}

# Does a step, or says why not, as a line of `steps`.
step() {
    name=$1 limit=$2 need=$3
    shift 3
    tries=$(cat "$state/$name.tries" 2>/dev/null || echo 0)
    case ,$others, in *",$name,"*) echo "done elsewhere" >"$state/$name.done" ;; esac
    if [ -e "$state/$name.done" ]; then return; fi
    # First what has never been tried, then what has failed in an earlier call.
    [ "$tries" = "$turn" ] && [ "$(cat "$state/$name.call" 2>/dev/null)" != "$call" ] || return
    why=$(lacking "$need")
    left=$((end - $(now)))
    [ -n "$why" ] || [ "$limit" -le "$left" ] || why="$limit s do not fit into the $left s that are left"
    if [ -n "$why" ]; then
        echo "not run: $why" >"$state/$name.says"
        echo "$name: not run: $why"
        return
    fi
    tries=$((tries + 1))
    echo "$tries" >"$state/$name.tries"
    echo "$call" >"$state/$name.call"
    echo "failed: stopped from outside" >"$state/$name.says"
    log=$logs/$name.$tries.log
    started=$(now)
    timeout -k 5 "$limit" "$work/xtask" gpu --step "$name" "$@" >"$log" 2>&1
    code=$?
    took=$(($(now) - started))
    if [ "$code" = 0 ]; then
        echo "done: $took s" >"$state/$name.done"
    elif [ "$code" = 124 ] || [ "$code" = 137 ]; then
        echo "failed: its $limit s were over" >"$state/$name.says"
    else
        echo "failed: exit code $code after $took s: $(tail -n 1 "$log")" >"$state/$name.says"
    fi
    echo "$name: $(says "$name")"
    collect
}

says() { cat "$state/$1.done" 2>/dev/null || cat "$state/$1.says" 2>/dev/null || echo "not run yet"; }

# What there is so far, where it is taken from: a call that is cut off has brought its results.
collect() {
    while read -r name limit need; do
        echo "$name: $(says "$name") (limit $limit s)"
    done <"$here/plan" >"$results/steps.txt"
    for file in "$kept"/gpu-*.json "$kept/gpu.md"; do
        [ ! -e "$file" ] || cp "$file" "$results/"
    done
    # One file of logs, whichever way it could be made.
    rm -f "$results/logs.tar" "$results/logs.txt"
    tar -C "$work" -cf "$results/logs.tar" logs 2>/dev/null ||
        python3 -c "$TAR" "$results/logs.tar" "$logs" 2>/dev/null || {
        rm -f "$results/logs.tar"
        for log in "$logs"/*; do echo "== $log"; cat "$log"; done >"$results/logs.txt"
    }
}
TAR="import sys, tarfile
with tarfile.open(sys.argv[1], 'w') as out: out.add(sys.argv[2], 'logs')"

collect
for turn in 0 1; do
    while read -r name limit need; do
        step "$name" "$limit" "$need" "$@" </dev/null
    done <"$here/plan"
done
collect

failures=0 finished=
while read -r name limit need; do
    case $(says "$name") in
        done*) finished=$finished${finished:+,}$name ;;
        failed*) failures=$((failures + 1)) ;;
    esac
done <"$here/plan"
echo
cat "$results/steps.txt"
echo "this call took $(($(now) - begin)) s${finished:+; on a fresh machine go on with: --done $finished}"
[ "$failures" = 0 ]
