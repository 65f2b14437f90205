"""What the ids of the Hugging Face hub look like."""

import re

_NAME = r"\w[\w.-]*"
DATA_SET_ID = re.compile(f"{_NAME}/{_NAME}")
# The oldest models, such as gpt2, have no owner.
MODEL_ID = re.compile(f"(?:{_NAME}/)?{_NAME}")
# A head's repository, with a branch, tag or commit of it as the hub's file system writes them.
HEAD_ID = re.compile(rf"(?P<hub_id>{_NAME}/{_NAME})(?:@(?P<revision>\w[\w./-]*))?")
