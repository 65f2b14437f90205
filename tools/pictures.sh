#!/usr/bin/env bash
# Makes the pictures of the README in docs/pictures, from what `make quickstart` left:
#   tools/pictures.sh
# The page wants a Chromium, whose name another one may have: CHROMIUM=google-chrome tools/pictures.sh
set -euo pipefail
cd "$(dirname "$0")/.."
head=${OUT:-out/quickstart} pictures=docs/pictures page=$(mktemp -d)
coala-jax generate "$head" --model coala_jax/quickstart/backbone --html "$page/page.html" \
    --prompt $'Student: What does the term compiler mean?\nTutor:' \
    --lookahead 12 --num-candidates 8 --scored closed
"${CHROMIUM:-chromium}" --headless --no-sandbox --hide-scrollbars --window-size=900,570 \
    --screenshot="$page/page.png" "file://$page/page.html"
for picture in "$head/margins.png $pictures/margins.png" "$page/page.png $pictures/guided-page.png"; do
    python - $picture <<'PYTHON'
import sys
from PIL import Image  # comes with matplotlib

source, target = sys.argv[1:]
Image.open(source).convert("RGB").quantize(64).save(target, optimize=True)
PYTHON
done
