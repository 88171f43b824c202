#!/usr/bin/env bash
# Uploads a film to a deployed stack, waits for its ladder and counts the frames of every rendition against the film's.
#   AWS_ENDPOINT_URL, STACK   as for deploy.sh
#   WAIT                      seconds until it counts as failed [600]
#   FFPROBE                   [the layer's]
# Argument: the film.
. "$(dirname "$0")/common.sh"

film="${1:?smoke: usage: smoke.sh FILM}"
ffprobe="${FFPROBE:-$ROOT/layers/ffmpeg/build/opt/bin/ffprobe}"
bucket="$(output Bucket)"
key="uploads/smoke-$$-$RANDOM.mp4"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

frames() { "$ffprobe" -v error -select_streams v:0 -count_frames -show_entries stream=nb_read_frames -of csv=p=0 "$1" | awk 'NR == 1 { gsub(",", ""); print }'; }
# Job and state of this upload's item in the ledger. Of many pages only one has it; the AWS CLI writes "None" for some others.
job() {
    aws dynamodb scan --table-name "$(output Table)" --output text \
        --filter-expression "sk = :job AND #source.#key = :key" --expression-attribute-names '{"#source": "source", "#key": "key"}' \
        --expression-attribute-values "{\":job\": {\"S\": \"job\"}, \":key\": {\"S\": \"$key\"}}" --query 'Items[].[pk.S, state.M.name.S]' |
        awk 'NF == 2 { found = $0 } END { print found ? found : "none unknown" }'
}

aws s3 cp --only-show-errors "$film" "s3://$bucket/$key"
echo "smoke: $key is uploaded"
end=$((SECONDS + ${WAIT:-600}))
while read -r id state < <(job); do
    case "$state" in
        completed) break ;;
        partial | rejected | escalated | cancelled) echo "smoke: job $id is $state" >&2; exit 1 ;;
    esac
    [ $SECONDS -lt $end ] || { echo "smoke: job $id is at $state after ${WAIT:-600} s" >&2; exit 1; }
    sleep 1
done

aws s3 cp --only-show-errors --recursive "s3://$bucket/streams/$id/" "$scratch/streams/"
aws s3 cp --only-show-errors --recursive "s3://$bucket/encoded/" "$scratch/encoded/" --exclude '*' --include "${id}_*"
expected="$(frames "$film")"
grep -q '#EXT-X-STREAM-INF' "$scratch/streams/master.m3u8"
for rendition in "$scratch"/streams/*/media.m3u8 "$scratch"/encoded/*.mp4; do
    case "$rendition" in */audio*) continue ;; esac
    found="$(frames "$rendition")"
    [ "$found" = "$expected" ] || { echo "smoke: $rendition has $found frames, the film $expected" >&2; exit 1; }
done
echo "smoke: job $id: $(grep -c '#EXT-X-STREAM-INF' "$scratch/streams/master.m3u8") renditions, $expected frames in each"
