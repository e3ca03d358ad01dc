"""Hash chains: one digest that stands for many parts, messages or signatures, and the way from it to each of them.

Follows PR-MESSTRANSP 2.7 and X-Road's hash chain schema (`http://cyber.ee/hashchain`). A hash chain result is what is
signed or time-stamped; each message gets a chain of its own that leads from the result to its parts.
"""

from trust.hashchain.build import build_batch, build_message_chain
from trust.hashchain.model import (
    NAMESPACE,
    SIGNATURE_CHAIN,
    SIGNATURE_CHAIN_RESULT,
    SIGNATURE_FILES,
    TIMESTAMP_FILES,
    ChainFiles,
    DataReference,
    HashChain,
    HashChainResult,
    HashStep,
    HashValue,
    PartDigest,
    StepReference,
    VerifiedChain,
    digest_step,
)
from trust.hashchain.parse import parse_hash_chain, parse_hash_chain_result
from trust.hashchain.verify import verify_hash_chain

__all__ = [
    "NAMESPACE",
    "SIGNATURE_CHAIN",
    "SIGNATURE_CHAIN_RESULT",
    "SIGNATURE_FILES",
    "TIMESTAMP_FILES",
    "ChainFiles",
    "DataReference",
    "HashChain",
    "HashChainResult",
    "HashStep",
    "HashValue",
    "PartDigest",
    "StepReference",
    "VerifiedChain",
    "build_batch",
    "build_message_chain",
    "digest_step",
    "parse_hash_chain",
    "parse_hash_chain_result",
    "verify_hash_chain",
]
