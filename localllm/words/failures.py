"""What did not work, as the error that a shell shows: its sentence, its hint, its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localllm import errors
from localllm.errors import DoesNotFitError, EngineError, LocalLLMError

if TYPE_CHECKING:
    from localllm.core.generation import Died, Failed
    from localllm.core.plan import Plan


def failure(event: Failed | Died) -> LocalLLMError:
    """Return the error that an engine event stands for, with its hint and exit code."""
    from localllm.core.generation import Died

    if isinstance(event, Died):
        return EngineError(event.message, hint=event.hint)
    kind = getattr(errors, event.error, None)
    if not (isinstance(kind, type) and issubclass(kind, LocalLLMError)):
        kind = EngineError
    return kind(event.message, hint=event.hint)


def does_not_fit(plan: Plan) -> DoesNotFitError:
    """Return the error (exit 3) of a plan that does not fit: what is missing, and what helps."""
    from localllm.core.shrunk import short_of

    rescue = next((other for other in plan.counterfactuals if other.verdict == "fits"), None)
    return DoesNotFitError(
        f"{plan.model.name} does not fit: short of {short_of(plan)}.",
        hint=f"This would help: {rescue.change}."
        if rescue
        else "No single change helps: use a smaller model, or a machine with more memory.",
    )


def engine_refuses(plan: Plan) -> EngineError:
    """Return the error (exit 6) of a plan that fits and that llama.cpp would not run."""
    why = (plan.refusal or "it does not say why").rstrip(".")
    return EngineError(
        f"It fits, but the installed llama.cpp would not run it ({why}).",
        hint="Try other cache types or --flash-attn; else it takes another build of llama.cpp.",
    )
