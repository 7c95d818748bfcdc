"""Was it the memory that ran out? Every kind of error by which PyTorch and its libraries say so. Free of torch."""

from __future__ import annotations

import sys

# Of RuntimeErrors that have no class of their own: torch's CPU allocator; C++ libraries; oneDNN; a call of the CUDA
# driver rather than torch's allocator; cuBLAS's and cuDNN's workspaces.
_SAID = (
    "DefaultCPUAllocator: ",
    "std::bad_alloc",
    "could not create a memory object",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
_SAID_ALONE = "could not create a primitive"  # oneDNN's; one that it does not know is a "primitive descriptor"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less work at a time would help."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    if not isinstance(error, RuntimeError):
        return False
    return str(error).strip() == _SAID_ALONE or any(text in str(error) for text in _SAID)
