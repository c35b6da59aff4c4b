"""llama.cpp's converter, told that the reference model's pre-tokenizer is the one it calls deepseek-v3.

    python convert.py SOURCE [the converter's arguments]

It would recognize the tokenizers of models that it knows by a digest, and the reference model has its own vocabulary.
"""

import runpy
import sys
from pathlib import Path

source = Path(sys.argv[1]).resolve()
sys.path[:0] = [str(source), str(source / "gguf-py")]

import conversion.base  # noqa: E402

conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "deepseek-v3"
sys.argv = [str(source / "convert_hf_to_gguf.py"), *sys.argv[2:]]
runpy.run_path(sys.argv[0], run_name="__main__")
