"""Uploads a release to the model hub."""

import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from foleygram.weights.location import HTTP_ERROR, PREFIX


def push_release(save: Callable[[Path], None], repo_id: str, *, private: bool, token: str | None) -> str:
    """Save a release into a temporary folder and upload it in one commit; returns the commit's address.

    Raises ValueError for a malformed id, PermissionError without a login that may write, ConnectionError without a
    network.
    """
    repo_id = repo_id.removeprefix(PREFIX)
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo_id):
        raise ValueError(f"{repo_id}: not a hub id; write OWNER/NAME")
    api = HfApi(token=token)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / repo_id.partition("/")[2]  # the card's title
        save(folder)
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            done = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload a foleygram release")
        except HfHubHTTPError as error:
            raise PermissionError(
                f"{repo_id}: the hub refuses the upload ({' '.join(str(error).split())[:200]}); log in with "
                "`hf auth login`, or pass a token that may write there"
            ) from error
        except (HTTP_ERROR, OSError, RuntimeError) as error:
            raise ConnectionError(
                f"{repo_id}: the upload was interrupted ({error}); nothing was published, run it again"
            ) from error
    return str(done.commit_url)
