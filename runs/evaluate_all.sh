#!/usr/bin/env bash
# Every evaluation set, the first 2,500 queries of each: gingham, exact MaxSim and BM25; one page of
# Markdown on stdout, progress on stderr. Indexes are cached, so a second run only searches.
#
#   runs/evaluate_all.sh [DATA [OPTION…]]      all sets, some 20 minutes on 2 cores
#   runs/evaluate_all.sh --quick [DATA]        four sets, at most 500 queries each, gingham alone:
#                                              fails where quality fell by more than noise
#   runs/evaluate_all.sh --accept [DATA]       takes the quick figures of now for those to hold
#
# DATA is a folder of folders in BEIR layout; OPTIONs go to gingham evaluate.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
gingham="$root/.venv/bin/gingham"
[ -x "$gingham" ] || gingham=gingham

mode=all
case "${1:-}" in --quick | --accept) mode="${1#--}"; shift ;; esac
data="${1:-$root/../shared/data/eval}"
[ $# -gt 0 ] && shift
[ -d "$data" ] || { echo "no folder $data: name the evaluation sets" >&2; exit 2; }

if [ "$mode" = all ]; then
    "$gingham" evaluate "$data"/*/ --max-queries 2500 --bm25 --exact --markdown "$@"
    exit
fi
# Indexed anew each time: what is guarded is the code that indexes too.
cache="$(mktemp -d)"
trap 'rm -rf "$cache"' EXIT
quick=(
    "$gingham" evaluate "$data"/{cranfield,cisi,stackfaq,squad-v1-dev}
    --metric nDCG@10 --max-queries 500 --depth 10 --timed 0
    --cache "$cache" --json
)
if [ "$mode" = accept ]; then
    "${quick[@]}" > "$cache/accepted.jsonl"
    mv "$cache/accepted.jsonl" "$root/runs/quick_quality.jsonl"
else
    "${quick[@]}" --no-worse-than "$root/runs/quick_quality.jsonl" > /dev/null
fi
