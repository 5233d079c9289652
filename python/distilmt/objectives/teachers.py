"""What a student can learn from: the kinds of teacher that `Objective.evaluate` takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from distilmt.errors import ConfigError
from distilmt.objectives.evaluation import sum_by_sentence
from distilmt.ops.linear_kd import DenseTeacher, NativeTerm, SparseTeacher, linear_kd

if TYPE_CHECKING:
    from distilmt.objectives.objective import Objective


@dataclass(frozen=True)
class Head:
    """A model's output distribution at each target position: softmax(hidden weight^T + bias).

    Without a weight, `hidden` holds the logits themselves, [rows, vocab].
    """

    hidden: Tensor  # [rows, d]
    weight: Tensor | None  # [vocab, d]
    bias: Tensor | None = None  # [vocab]

    @property
    def vocab(self) -> int:
        """Size of the vocabulary."""
        return (self.hidden if self.weight is None else self.weight.T).shape[1]

    def logits(self, rows: int = 256) -> Iterator[Tensor]:
        """Logits [`rows` at most, vocab], for one part of the rows after another: never all at once."""
        for hidden in torch.split(self.hidden, rows):
            logits = hidden if self.weight is None else hidden @ self.weight.T
            yield logits if self.bias is None else logits + self.bias


@dataclass(frozen=True)
class TopK:
    """A teacher known at its k most likely tokens, as soft labels are saved.

    Args:
        ids: int64 [rows, k], distinct in a row.
        log_probs: [rows, k] in nats, at temperature 1; -inf: no such entry, whatever its id.
    """

    ids: Tensor
    log_probs: Tensor


@runtime_checkable
class Stored(Protocol):
    """`TopK`, or the same as arrays: `distilmt.SoftLabels` of these rows."""

    @property
    def ids(self) -> Any:
        """As of TopK."""

    @property
    def log_probs(self) -> Any:
        """As of TopK."""


@dataclass(frozen=True)
class Neighbours:
    """Target tokens of the k nearest entries of a datastore; a token may come several times, and its shares are added.

    Args:
        ids: int64 [rows, k].
        distances: [rows, k], squared L2; inf: no such neighbour, whatever its id (FAISS says -1).
    """

    ids: Tensor
    distances: Tensor


@dataclass(frozen=True)
class Ensemble:
    """Several models as one teacher: the mean of their distributions.

    Args:
        members: the heads.
        weights: one number a member, or [members, rows]; equal where absent.
        by_nll: weigh the members instead by softmax(-mean NLL of the gold target): whoever knows this "sentence", or all rows of
            this call, a "batch", better counts more. Costs one more projection of each member.
        sentences: int64 [rows], the sentence of each row, counted from 0; needed for `by_nll="sentence"`.
        geometric: mean of log-probabilities, normalised, as ensembles decode; else of probabilities.

    Source: Freitag et al. 2017 (arXiv:1702.01802); weights from the NLL, Saleh et al. 2020 (Collective Wisdom,
    arXiv:2010.05445), who take the batch; per sentence they do not hang on what else is in it.
    """

    members: Sequence[Head | Tensor]
    weights: Sequence[float] | Tensor | None = None
    by_nll: Literal["sentence", "batch"] | None = None
    sentences: Tensor | None = None
    geometric: bool = False


Teacher = Head | Tensor | Stored | Neighbours | Ensemble | None


def dense(head: Head | Tensor) -> DenseTeacher:
    """A head, or logits, for `linear_kd`."""
    return DenseTeacher(head) if isinstance(head, Tensor) else DenseTeacher(head.hidden, head.weight, head.bias)


def arguments(
    teacher: Any, objective: Objective, student: Head, targets: Tensor, role: str = "teacher"
) -> dict[str, Any]:
    """The keyword arguments of `linear_kd` that name a teacher."""
    if isinstance(teacher, Head | Tensor):
        return {"snapshot": dense(teacher)} if role == "snapshot" else {"teachers": [dense(teacher)]}
    if role == "snapshot":
        raise ConfigError(f"the snapshot must be a Head or logits, got {type(teacher).__name__}")
    if isinstance(teacher, Stored):
        return {"sparse": _sparse(teacher, targets.device)}
    if isinstance(teacher, Neighbours):
        term: Any = next(term for _, term in objective.terms if term.neighbour_temperature)
        return {"sparse": SparseTeacher(*term.sparse(teacher, student, targets))}
    if isinstance(teacher, list | tuple):
        weighted = [_weighted(each) for each in teacher]
        weights = [weight for _, weight in weighted if weight is not None]
        if 0 < len(weights) < len(weighted):
            raise ConfigError("teachers: give all of them a weight, or none")
        teacher = Ensemble([head for head, _ in weighted], weights or None)
    if isinstance(teacher, Ensemble):
        return {
            "teachers": [dense(member) for member in teacher.members],
            "mix_weights": _member_weights(teacher, targets) if len(teacher.members) > 1 else None,
            "geometric": teacher.geometric,
        }
    raise ConfigError(
        f"teacher must be a Head, logits, TopK, SoftLabels, Neighbours, Ensemble or a list, got {type(teacher).__name__}"
    )


def _weighted(member: Any) -> tuple[Head | Tensor, float | None]:
    """A member of a list with its weight, in either order, or by itself."""
    head, weight = member if isinstance(member, tuple) and len(member) == 2 else (member, None)
    if isinstance(weight, Head) or (isinstance(weight, Tensor) and weight.dim()):
        head, weight = weight, head
    if isinstance(weight, Tensor) and not weight.dim():
        weight = float(weight)
    if not isinstance(head, Head | Tensor) or not isinstance(weight, Real | None):
        wrong = head if not isinstance(head, Head | Tensor) else weight
        raise ConfigError(
            f"a list of teachers is of heads or logits, each alone or with a number as its weight, got {type(wrong).__name__} - "
            "what is known at a few words alone teaches alone"
        )
    return head, None if weight is None else float(weight)


def _sparse(teacher: Stored, device: torch.device) -> SparseTeacher:
    ids, log_probs = (torch.as_tensor(each, device=device) for each in (teacher.ids, teacher.log_probs))
    absent = log_probs == -torch.inf
    ids = ids.long().masked_fill(absent, 0)
    if not (torch.compiler.is_compiling() or ids.is_cuda) and ids.dim() == 2:
        places = torch.arange(-1, -1 - ids.shape[1], -1)  # an absent entry is like no other
        sorted_ids = torch.where(absent, places, ids).sort(1).values
        if bool((twice := sorted_ids[:, 1:] == sorted_ids[:, :-1]).any()):
            raise ConfigError(
                f"TopK: ids must be distinct in a row, got one twice in row {int(twice.any(1).nonzero()[0])}"
            )
    return SparseTeacher(ids, log_probs)


def is_sparse(teacher: Teacher) -> bool:
    return isinstance(teacher, Stored | Neighbours)


def merged(neighbours: Neighbours, temperature: float, vocab: int) -> tuple[Tensor, Tensor]:
    """Distinct ids and log-probabilities [rows, min(k, vocab)] of softmax(-distance / temperature) over the neighbours.

    Source: Khandelwal et al. 2021 (kNN-MT, arXiv:2010.00710), equation 2.
    """
    weights = -neighbours.distances.double() / temperature
    order = neighbours.ids.masked_fill(weights == -torch.inf, _BEHIND).sort(dim=1, stable=True)
    known = (weights > -torch.inf).any(1, keepdim=True)
    q = torch.softmax(weights.masked_fill(~known, 0), 1).masked_fill(~known, 0).gather(1, order.indices)
    first = torch.ones_like(order.values, dtype=torch.bool)
    first[:, 1:] = order.values[:, 1:] != order.values[:, :-1]
    place = first.cumsum(1) - 1  # equal ids stand together: the n-th distinct one goes to column n
    ids = torch.zeros_like(order.values).scatter(1, place, order.values)
    sums = torch.zeros_like(q).scatter_add(1, place, q)
    return ids[:, :vocab].masked_fill(ids[:, :vocab] == _BEHIND, 0), sums.log()[:, :vocab].contiguous()


_BEHIND = 1 << 62  # the id of what is absent: behind all words


def _member_weights(ensemble: Ensemble, targets: Tensor) -> Tensor | None:
    """[members, rows], adding up to 1 over the members."""
    if not ensemble.by_nll:
        if ensemble.weights is None:
            return None
        w = torch.as_tensor(ensemble.weights, dtype=torch.float64)
        w = w[:, None].expand(-1, len(targets)) if w.dim() == 1 else w
        if w.shape != (len(ensemble.members), len(targets)) or bool((w < 0).any()):
            raise ConfigError(f"weights must be {len(ensemble.members)} numbers of at least 0, got {ensemble.weights}")
        if not bool((w.sum(0) > 0).all()):
            raise ConfigError(f"weights must not all be 0, got {ensemble.weights}")
        return (w / w.sum(0)).to(targets.device)
    if ensemble.by_nll not in ("sentence", "batch"):
        raise ConfigError(f"an ensemble is weighed by_nll of each sentence or batch, got {ensemble.by_nll!r}")
    of = torch.zeros_like(targets) if ensemble.by_nll == "batch" else ensemble.sentences
    if of is None:
        raise ConfigError("an ensemble weighed by_nll of sentences needs sentences, the sentence of each row, got None")
    lengths = sum_by_sentence((targets != -100).double(), of).clamp(min=1)
    means = torch.stack([sum_by_sentence(nll(member, targets), of) / lengths for member in ensemble.members])
    return torch.softmax(-means, 0)[:, of]


@torch.no_grad()
def nll(model: Head | Tensor, targets: Tensor) -> Tensor:
    """-log p(target), float64 [rows]; 0 without one."""
    head = dense(model)
    return linear_kd(head.hidden, head.weight, targets, head.bias, terms=[NativeTerm("nll")]).nll.double()
