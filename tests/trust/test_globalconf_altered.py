"""Every way of altering a configuration that must be noticed, with the code that says what was."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.configurations import NOW, VALIDITY, Signed, anchor, key, key_pair, parameters, signed
from tests.trust.test_globalconf import verified
from trust.errors import ConfigurationInvalid, TrustError
from trust.globalconf import build_shared_parameters, sign_directory
from trust.keys import SoftwareKey

PARSING = "global_conf_parsing_downloaded_conf_directory_failure"
SIGNATURE = "global_conf_signature_verification_failure"
MISSING = "global_conf_header_field_missing"
WRONG = "global_conf_header_field_wrong_value"
PARAMETER = "global_conf_header_field_missing_parameter"
INTEGRITY = "global_conf_part_downloaded_file_integrity_failure"
OTHER_INSTANCE = "global_conf_part_invalid_instance_identifier"


def cut(old: str, new: str = "", count: int = -1) -> Callable[[bytes], bytes]:
    def change(document: bytes) -> bytes:
        changed = document.replace(old.encode(), new.encode(), count)
        assert changed != document
        return changed

    return change


def swapped_signature(document: bytes) -> bytes:
    head, _, tail = document.rpartition(b"\r\n\r\n")
    return (
        head + b"\r\n\r\n" + base64.b64encode(key().sign(b"something else")) + tail[tail.index(b"\r\n--envelope--") :]
    )


OUTER = [
    ("no-content", lambda _: b"", PARSING),
    ("not-multipart", lambda _: b"<html></html>", PARSING),
    ("other-type", cut("multipart/related", "multipart/mixed", 1), PARSING),
    ("no-boundary", cut("boundary=envelope", "", 1), PARSING),
    ("trailing-bytes", lambda document: document + b"more", PARSING),
    ("leading-bytes", cut("\r\n\r\n--envelope", "\r\n\r\nhello\r\n--envelope", 1), PARSING),
    ("oversized", lambda document: document + b" " * (1 << 20), PARSING),
    ("header-twice", cut("Signature-Algorithm-Id:", "Signature-Algorithm-Id: x\r\nSignature-Algorithm-Id:"), PARSING),
    ("bad-header-utf8", lambda d: d.replace(b"Signature-Algorithm-Id", b"\xff"), PARSING),
    (
        "no-signature-part",
        lambda d: d[: d.rindex(b"--envelope\r\n")] + b"--envelope--\r\n",
        "global_conf_missing_signed_data_expiration_date",
    ),
    (
        "no-part",
        lambda d: d[: d.index(b"--envelope\r\n")] + b"--envelope--\r\n",
        "global_conf_missing_signed_data",
    ),
    ("third-part", cut("--envelope--", "--envelope\r\n\r\nx\r\n--envelope--"), "global_conf_missing_signed_data"),
    ("no-algorithm", cut("Signature-Algorithm-Id: http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512\r\n"), MISSING),
    ("weak-algorithm", cut("xmldsig-more#ecdsa-sha512", "xmldsig-more#ecdsa-sha1"), WRONG),
    ("other-algorithm", cut("xmldsig-more#ecdsa-sha512", "xmldsig-more#rsa-sha512"), SIGNATURE),
    ("other-hash", cut("xmldsig-more#ecdsa-sha512", "xmldsig-more#ecdsa-sha256"), SIGNATURE),
    ("no-certificate-hash", cut("Verification-certificate-hash", "Nothing"), MISSING),
    ("certificate-hash-algorithm", cut("; hash-algorithm-id=", "; some-algorithm="), PARAMETER),
    ("weak-certificate-hash", lambda d: d[:-600] + d[-600:].replace(b"04/xmlenc#sha512", b"00/xmldsig#sha1"), WRONG),
    ("signature-encoding", cut("Content-Transfer-Encoding: base64\r\nSignature", "Signature"), MISSING),
    ("signature-encoding-other", cut("Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: 8bit"), WRONG),
    (
        "signature-not-base64",
        lambda d: d.replace(b"\r\n--envelope--", b"*\r\n--envelope--"),
        "global_conf_signature_decode_failure",
    ),
    ("signature-swapped", swapped_signature, SIGNATURE),
    ("signature-empty", lambda d: d[: d.rindex(b"\r\n\r\n") + 4] + b"\r\n--envelope--\r\n", SIGNATURE),
    ("expiry-moved", cut("2026-11-22T10:10:00Z", "2027-11-22T10:10:00Z"), SIGNATURE),
    ("version-changed", cut("Version: 6", "Version: 5"), SIGNATURE),
    ("location-changed", cut("/V6/", "/V7/"), SIGNATURE),
    ("instance-changed", cut("instance='DE-TEST'", "instance='EE-TEST'"), SIGNATURE),
    (
        "digest-algorithm",
        cut("Hash-algorithm-id: http://www.w3.org/2001/04/xmlenc#sha512", "Hash-algorithm-id: x"),
        SIGNATURE,
    ),
    ("part-removed", lambda d: d[: d.index(b"--inner\r\nContent")] + d[d.rindex(b"--inner\r\n") :], SIGNATURE),
    ("part-added", cut("--inner--", "--inner\r\nContent-location: /x\r\n\r\nAAAA\r\n--inner--"), SIGNATURE),
    ("inner-boundary-moved", cut("boundary=inner", "boundary=other"), PARSING),
]


@pytest.mark.parametrize(("change", "code"), [entry[1:] for entry in OUTER], ids=[entry[0] for entry in OUTER])
def test_an_altered_directory_is_refused(change: Callable[[bytes], bytes], code: str) -> None:
    configuration = signed()
    with pytest.raises(ConfigurationInvalid) as refused:
        verified(Signed(change(configuration.directory), configuration.files))
    assert refused.value.code == code


INNER = [
    ("no-expiry", cut("Expire-date: 2026-11-22T10:10:00Z\r\n"), MISSING),
    ("empty-expiry", cut("Expire-date: 2026-11-22T10:10:00Z\r\n", "Expire-date: \r\n"), MISSING),
    ("no-parts", lambda _: b"--inner--\r\n", "global_conf_missing_signed_data_expiration_date"),
    ("no-head", lambda d: d[d.index(b"--inner\r\nContent") :], MISSING),
    ("bad-expiry", cut("2026-11-22T10:10:00Z", "tomorrow"), WRONG),
    ("zoneless-expiry", cut("2026-11-22T10:10:00Z", "2026-11-22T10:10:00"), WRONG),
    ("impossible-expiry", cut("2026-11-22T10:10:00Z", "9999-12-31T23:59:59-14:00"), WRONG),
    ("expired", cut("2026-11-22T10:10:00Z", "2026-11-22T10:00:00Z"), "global_conf_outdated"),
    ("head-twice", cut("Version: 6\r\n", "Version: 6\r\nVersion: 6\r\n"), PARSING),
    ("version-zero", cut("Version: 6", "Version: 0"), WRONG),
    ("huge-version", cut("Version: 6", "Version: 100"), WRONG),
    ("ancient-version", cut("Version: 6", "Version: 1"), "global_conf_get_version_failed"),
    ("bad-version", cut("Version: 6", "Version: six"), WRONG),
    ("future-version", cut("Version: 6", "Version: 7"), "global_conf_get_version_failed"),
    ("no-location", cut("Content-location", "Content-somewhere"), MISSING),
    ("no-hash-algorithm", cut("Hash-algorithm-id", "Some-algorithm-id"), MISSING),
    ("sha-1", cut("2001/04/xmlenc#sha512", "2000/09/xmldsig#sha1"), WRONG),
    ("other-encoding", cut("Content-transfer-encoding: base64", "Content-transfer-encoding: 7bit"), WRONG),
    ("other-content-type", cut("Content-type: application/octet-stream", "Content-type: text/plain"), WRONG),
    ("no-instance", cut("; instance='DE-TEST'"), PARAMETER),
    ("other-instance", cut("; instance='DE-TEST'", '; instance="EE-TEST"'), OTHER_INSTANCE),
    ("bad-parameters", cut("; instance='DE-TEST'", "; instance='DE-TEST"), PARSING),
    ("no-shared-parameters", cut("SHARED-PARAMETERS", "OTHER-PARAMETERS"), PARSING),
    ("file-twice", cut("PRIVATE-PARAMETERS", "SHARED-PARAMETERS"), PARSING),
    ("location-twice", cut("private-params", "shared-params"), PARSING),
    ("content-in-head", cut("Version: 6\r\n\r\n", "Version: 6\r\n\r\nhello\r\n"), PARSING),
    ("file-missing", cut("shared-params.xml", "other-params.xml"), "global_conf_part_download_failure"),
    ("digest-changed", lambda d: d[: d.rindex(b"\r\n\r\n") + 4] + b"AAAA\r\n--inner--\r\n", INTEGRITY),
    ("no-digest", lambda d: d[: d.rindex(b"\r\n\r\n") + 4] + b"\r\n--inner--\r\n", INTEGRITY),
    ("unknown-parameter-twice", cut("; instance='DE-TEST'", "; instance='DE-TEST'; instance='DE-TEST'"), PARSING),
    ("empty-instance", cut("instance='DE-TEST'", "instance=''"), PARAMETER),
    ("folded-away", cut("\r\nHash-algorithm-id", "\r\n Hash-algorithm-id"), MISSING),
    ("too-many-parts", cut("--inner--", "--inner\r\n\r\n\r\n" * 40 + "--inner--"), PARSING),
]


@pytest.mark.parametrize(("change", "code"), [entry[1:] for entry in INNER], ids=[entry[0] for entry in INNER])
def test_a_wrong_directory_is_refused_though_signed(change: Callable[[bytes], bytes], code: str) -> None:
    configuration = signed()
    document = configuration.directory
    inner = document[document.index(b"--inner\r\n") : document.index(b"--inner--\r\n") + len(b"--inner--\r\n")]
    resigned = sign_directory(change(inner), key(), boundary="inner", envelope_boundary="envelope")
    with pytest.raises(ConfigurationInvalid) as refused:
        verified(Signed(resigned, configuration.files))
    assert refused.value.code == code


def test_a_changed_file_is_refused() -> None:
    configuration = signed()
    for location, data in configuration.files.items():
        with pytest.raises(ConfigurationInvalid) as refused:
            verified(replace(configuration, files={**configuration.files, location: data + b" "}))
        assert refused.value.code == INTEGRITY


def test_a_missing_file_is_refused() -> None:
    configuration = signed()
    for location in configuration.files:
        with pytest.raises(ConfigurationInvalid) as refused:
            verified(replace(configuration, files={k: v for k, v in configuration.files.items() if k != location}))
        assert refused.value.code == "global_conf_part_download_failure"


def test_files_of_another_instance_are_refused() -> None:
    shared = build_shared_parameters(parameters()).replace(b">DE-TEST<", b">EE-TEST<", 1)
    with pytest.raises(ConfigurationInvalid) as refused:
        verified(signed(shared=shared))
    assert refused.value.code == OTHER_INSTANCE
    with pytest.raises(ConfigurationInvalid) as refused:
        verified(signed(instance="EE-TEST"))
    assert refused.value.code == OTHER_INSTANCE


def test_a_malformed_file_is_refused_though_signed() -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        verified(signed(shared=b"<html/>"))
    assert refused.value.code == "malformed_global_conf"


def test_another_signer_is_refused() -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        verified(signed(signer=key_pair()))
    assert refused.value.code == "global_conf_missing_verification_cert"


def test_the_named_certificate_must_be_the_signers() -> None:
    mine, other = key_pair(), key_pair()
    configuration = signed(signer=SoftwareKey(mine.private_key, mine.certificate))
    hash_mine, hash_other = (base64.b64encode(hashlib.sha512(k.certificate_der).digest()) for k in (mine, other))
    forged = configuration.directory.replace(hash_mine, hash_other)
    with pytest.raises(ConfigurationInvalid) as refused:
        verified(Signed(forged, configuration.files), trusted=anchor(mine, other))
    assert refused.value.code == SIGNATURE


@cache
def one_configuration() -> Signed:
    """The same bytes each time, as Hypothesis needs them."""
    return signed()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_change_of_bytes_passes_unnoticed(data: st.DataObject) -> None:
    configuration = one_configuration()
    document = bytearray(configuration.directory)
    position = data.draw(st.integers(0, len(document) - 1))
    document[position] = data.draw(st.integers(0, 255))
    try:
        accepted = verified(Signed(bytes(document), configuration.files))
    except TrustError:
        return
    # What the signature does not cover (white space, letter case outside) may change; what we read may not.
    assert accepted.parameters == parameters()
    assert accepted.expires == NOW + VALIDITY
    assert accepted.sequence == verified(configuration).sequence
