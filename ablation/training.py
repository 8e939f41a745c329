"""A run under way and its directory: going on after the last saved epoch, saving, and the results.

Weights are copied at the end of every epoch, which costs next to nothing, and written now and then, by a thread
beside the training: when enough time has passed, after the last epoch, and when the training is interrupted or
fails. Order of writing: weights of the best epoch, then last.pt (which holds the metrics too), then metrics.csv and
status.json, which a resumed run writes again from last.pt. A kill at any instant costs the epochs since last.pt and
nothing else.
"""

import io
import logging
import resource
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import nn

from ablation import rundir
from ablation.checkpoint import CheckpointError, Snapshot, load_last, save_last, save_weights, snapshot
from ablation.data import Split
from ablation.identity import code_digest
from ablation.jobs import Job
from ablation.loop import Evaluation, Row
from ablation.rundir import RunDir, State, write_atomic, write_json

log = logging.getLogger("ablation")
CODE = code_digest()  # at import: a fork server keeps running the code it read, whatever is edited meanwhile


@dataclass
class Training:
    """A run under way: what is trained, the metrics of its finished epochs, and the code that made them.

    It is a context: at the end of the block everything is written, whatever ended it.
    `code` is the digest of the training code, or several joined by + when a run was resumed by other code.
    """

    job: Job
    run: RunDir
    model: nn.Module
    optimizer: torch.optim.Optimizer
    rows: list[Row] = field(default_factory=list)
    code: str = CODE
    notice: str | None = None  # what was wrong with the checkpoint
    _last: Snapshot | None = None  # after the last epoch, as long as it is not saved
    _best: tuple[Row, Snapshot] | None = None  # likewise, of the best epoch so far
    _saved: float = field(default_factory=lambda: time.monotonic())  # when last.pt was written
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "writer"))
    _writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.settle()
        except KeyboardInterrupt:  # a signal meanwhile, such as torchrun's to the others of a dead process
            self.settle()
            raise
        except Exception:
            if error is None:
                raise
        finally:
            self._writer.shutdown()

    def resume(self) -> None:
        """Go back to the last finished epoch, or to the one before it if its file is damaged; else start afresh."""
        troubles = []
        for path in (self.run / rundir.LAST, self.run / rundir.PREVIOUS):
            if not path.exists():
                continue
            try:
                self.rows, code = load_last(path, self.job.run_id, self.model, self.optimizer, self.job.device)
            except CheckpointError as error:
                troubles.append(str(error))
                continue
            if code.split("+")[-1] != CODE:
                log.warning("Resuming a run begun by other training code (%s, now %s).", code, CODE)
                code = f"{code}+{CODE}"
            self.code = code
            break
        if self.run.path.joinpath(rundir.METRICS).exists():  # of epochs that were not saved, too
            self.run.write_metrics(self.rows)
            self.run.update_status(State.running, epoch=len(self.rows), saved=len(self.rows))
        if troubles:
            place = f"went on after epoch {len(self.rows)}" if self.rows else "started again from the first epoch"
            self.notice = f"{' '.join(troubles)} Training {place}."
            log.warning("%s", self.notice)

    def save_epoch(self, row: Row) -> None:
        """Keep a finished epoch, and have it written; with checkpoint_every=0 before the next one begins.

        Raises:  OSError: an earlier one could not be written.
        """
        self.flush()
        self.rows.append(row)
        self._last = snapshot(self.model, self.optimizer)
        if self.best is row:
            self._best = (row, self._last)
        trainer = self.job.config.trainer
        due = len(self.rows) == trainer.epochs or time.monotonic() - self._saved >= trainer.checkpoint_every
        state = (self._last, self._best) if due else (None, None)
        self._writing = self._writer.submit(self._write, list(self.rows), *state)
        if trainer.checkpoint_every == 0:
            self.flush()

    def settle(self) -> None:
        """Have every finished epoch written, now, and by the thread, which no signal interrupts."""
        self._writing = self._writer.submit(self._write_rest)  # which does again what failed before
        self.flush()

    def flush(self) -> None:
        """Wait for what is being written.

        Raises:  OSError: it could not be.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _write_rest(self) -> None:
        if self._last is not None:
            self._write(list(self.rows), self._last, self._best)

    def _write(self, rows: list[Row], last: Snapshot | None, best: tuple[Row, Snapshot] | None) -> None:
        """Write an epoch; the state only where it is given."""
        if best is not None:
            row, state = best
            facts = {"run_id": self.job.run_id, "epoch": str(row["epoch"]), "val_acc": repr(row["val_acc"])}
            save_weights(self.run / rundir.BEST, state, facts)
        if last is not None:
            save_last(self.run, self.job.run_id, last, rows, self.code)
        self.run.write_metrics(rows)
        saved = {} if last is None else {"saved": len(rows)}
        self.run.update_status(State.running, epoch=len(rows), notice=self.notice, **saved)
        if last is not None:  # only now: what could not be written is tried once more at the end
            self._last, self._best, self._saved = None, None, time.monotonic()

    @property
    def best(self) -> Row:
        """The epoch of the highest validation accuracy, the first of equals."""
        return max(self.rows, key=lambda row: (row["val_acc"], -(row["epoch"] or 0)))

    def finish(self, last: Evaluation, val: Split, clean: Evaluation, sizes: dict[str, int], seconds: float) -> None:
        """Write predictions and results, and mark the run finished.

        Args:    last: the validation images after the last epoch; clean: the training images.
                 seconds: time spent on evaluation since the last epoch.
        """
        self.settle()
        buffer = io.BytesIO()
        found = {"target": val.labels, "predicted": last.predicted, "correct": last.predicted == val.labels}
        if val.numbers is not None:
            found["image"] = val.numbers
        np.savez(buffer, allow_pickle=False, **found)
        write_atomic(self.run / rundir.PREDICTIONS, buffer.getvalue())
        rows, best = self.rows, self.best
        last3 = [row["val_acc"] or 0.0 for row in rows[-3:]]
        outcome = {
            "val_final": rows[-1]["val_acc"],
            "val_last3": sum(last3) / len(last3),
            "val_best": best["val_acc"],
            "best_epoch": best["epoch"],
            "val_loss_final": rows[-1]["val_loss"],
            "train_eval_acc": clean.accuracy,
            "train_eval_loss": clean.loss,
            "seconds_train": round(sum(row["seconds_train"] or 0.0 for row in rows), 3),
            "seconds_eval": round(sum(row["seconds_eval"] or 0.0 for row in rows) + seconds, 3),
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "epochs": len(rows),
            "classes": list(self.job.info.classes),
        }
        write_json(self.run / rundir.RESULT, outcome | sizes)
        self.run.update_status(State.finished, epoch=len(rows))
        (self.run / rundir.PREVIOUS).unlink(missing_ok=True)
