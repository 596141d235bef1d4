"""Where results live: the truth about what is done.

    stages/<kind>/<key>/attempts/<id>/   what one attempt wrote: its own folder, so two writers never mix
    stages/<kind>/<key>/result.json      names the attempt that counts; written last, whole, and only if absent

A stage without `result.json` is not done, whatever else lies there; nothing published is ever overwritten.
"""

import contextlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from pipeline.errors import RequestError
from pipeline.paths import absolute
from pipeline.plan import Result

RESULT, FAILURE, CHECKPOINT = "result.json", "failure.json", "checkpoint.pt"


@dataclass(frozen=True)
class Attempt:
    """One try at a stage, with a folder of its own."""

    kind: str
    key: str
    id: str
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """Where the stage saves its state."""
        return self.folder / CHECKPOINT


class Workspace:
    """A workspace on a file system that every node sees.

    Args:
        root: Its folder; made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()

    def stage_folder(self, kind: str, key: str) -> Path:
        """The folder of a stage, there or not."""
        return self.root / "stages" / kind / key

    def result(self, kind: str, key: str) -> Result | None:
        """The published result of a stage, None while it is not done."""
        try:
            result: Result = json.loads((self.stage_folder(kind, key) / RESULT).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return result

    def all_results(self, kind: str) -> list[Result]:
        """Every published result of a kind, the newest first."""
        found = [json.loads(path.read_text(encoding="utf-8")) for path in self.root.glob(f"stages/{kind}/*/{RESULT}")]
        return sorted(found, key=lambda result: result["started"], reverse=True)

    def files(self, result: Result) -> Path:
        """The folder with a published result's files."""
        return self.stage_folder(result["kind"], result["key"]) / "attempts" / result["attempt"]

    def begin(self, kind: str, key: str) -> Attempt:
        """Open an attempt at a stage."""
        attempt_id = uuid.uuid4().hex[:12]
        folder = self.stage_folder(kind, key) / "attempts" / attempt_id
        folder.mkdir(parents=True)
        return Attempt(kind, key, attempt_id, folder)

    def publish(self, attempt: Attempt, result: Result) -> Result:
        """Make an attempt the stage's result, unless another was first.

        Returns:
            The result that counts from now on: this one, or the one published before.
        """
        full = {**result, "kind": attempt.kind, "key": attempt.key, "attempt": attempt.id}
        create_once(self.stage_folder(attempt.kind, attempt.key) / RESULT, full)
        published = self.result(attempt.kind, attempt.key)
        assert published is not None
        return published

    def record_failure(self, attempt: Attempt, failure: dict[str, Any]) -> None:
        """Keep what went wrong in an attempt."""
        create_once(attempt.folder / FAILURE, failure)

    def last_failure(self, kind: str, key: str) -> dict[str, Any] | None:
        """The newest failure of a stage, None where it never failed."""
        found = sorted(
            self.stage_folder(kind, key).glob(f"attempts/*/{FAILURE}"),
            key=lambda path: path.stat().st_mtime_ns,
        )
        return json.loads(found[-1].read_text(encoding="utf-8")) if found else None

    def checkpoints(self, kind: str, key: str) -> list[Path]:
        """States saved by any attempt at a stage, the newest first."""
        ages = []
        for path in self.stage_folder(kind, key).glob(f"attempts/*/{CHECKPOINT}"):
            with contextlib.suppress(FileNotFoundError):  # its attempt has just ended
                ages.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(ages, reverse=True)]

    def fingerprint(self, signature: str) -> str | None:
        """The fingerprint of a disk dataset that was checked before, by its cheap signature."""
        try:
            return (self.root / "fingerprints" / signature).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def keep_fingerprint(self, signature: str, fingerprint: str) -> None:
        """Remember a checked dataset's fingerprint."""
        path = self.root / "fingerprints" / signature
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{signature}.{uuid.uuid4().hex}.partial")
        partial.write_text(fingerprint, encoding="utf-8")
        partial.replace(path)


def create_once(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file that is whole or not there; one that is there already stays as it is."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    try:
        # A hard link fails where the name exists: creation and check are one step, also between nodes.
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()


def locate(option: str | None) -> Path:
    """The workspace's folder: the option, else MSINET_WORKSPACE, else one in the user's data directory."""
    chosen = option or os.environ.get("MSINET_WORKSPACE")
    if not chosen:
        return Path(platformdirs.user_data_path("msinet")) / "workspace"
    if "://" in chosen:
        raise RequestError(f"a workspace must be a folder that every node sees, but got {chosen} (--workspace).")
    return absolute(Path(chosen), "--workspace, MSINET_WORKSPACE")
