"""Notes, checkpoints, keys and proofs in files: what is taken, and what is not."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aperio_cli.models.tlog.merkle import ProofInvalid, Tree, leaf_hash
from aperio_cli.models.tlog.note import (
    COSIGNATURE,
    ED25519,
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Checkpoint,
    Note,
    NoteInvalid,
    NoteKey,
    NoteSignature,
    cosigned_by,
    cosigned_message,
)
from aperio_cli.models.tlog.proof import MAX_PROOF_BYTES, LogProof
from tests.rows import each_row, for_each

# The example of golang.org/x/mod/sumdb/note, by its authors.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\N{EM DASH} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqf"
    "qdngotpRZb6KE6RyyBwJnAM=\n"
)
ENTRIES = [str(number).encode() for number in range(5)]
TREE = Tree(map(leaf_hash, ENTRIES))
CHECKPOINT = Checkpoint("registry.example/log", 5, TREE.root())
MOMENT = 1_793_000_000
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = SECRET.public_key().public_bytes_raw()
WITNESS = NoteKey("witness.example/w1", COSIGNATURE, PUBLIC)


def cosigned(moment: int = MOMENT, *, key: NoteKey = WITNESS, text: str = "") -> NoteSignature:
    """What the witness, or one who takes its name, signs a checkpoint with."""
    message = cosigned_message(text or CHECKPOINT.text, moment)
    signature = moment.to_bytes(8, "big") + SECRET.sign(message)
    return NoteSignature(key.name, key.key_id, signature)


def note(*signatures: NoteSignature) -> Note:
    return Note(CHECKPOINT.text, signatures)


def test_published_note_is_read_and_verified() -> None:
    found = Note.parse(PETERS_NOTE.encode())
    key = NoteKey.parse(PETER)
    assert (key.name, key.kind, str(key)) == ("PeterNeumann", ED25519, PETER)
    assert key.verify(found) == 0
    assert found.to_bytes() == PETERS_NOTE.encode()
    with pytest.raises(NoteInvalid, match="not its own"):
        key.verify(Note(found.text.replace("your", "my"), found.signatures))


def test_checkpoint_of_the_specification_is_read() -> None:
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    found = Checkpoint.parse(text)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.text == text


@for_each([
        "", "o\n1\n", "o\n1\nAA==\n", "o\n01\n{root}\n", "o\n-1\n{root}\n", "o\n1\n{root}",
        "o\n1\n{root}\nmore\n", "\n1\n{root}\n", " o\n1\n{root}\n", "o\t\n1\n{root}\n",
        "o\n1\n {root}\n", "o\n1\n{root}=\n",
        "o\n99999999999999999999\n{root}\n", "o\n\u0661\n{root}\n",
        "o" * 201 + "\n1\n{root}\n",
    ])  # fmt: skip
def test_other_text_is_no_checkpoint(text: str) -> None:
    root = CHECKPOINT.text.split("\n")[2]
    assert Checkpoint.parse(f"o\n1\n{root}\n").size == 1
    with pytest.raises(NoteInvalid):
        Checkpoint.parse(text.format(root=root))


def test_base64_has_one_form_only() -> None:
    root = CHECKPOINT.text.split("\n")[2]
    last = {"Q": "R", "U": "V", "0": "1"}.get(root[-2], chr(ord(root[-2]) + 1))
    with pytest.raises(NoteInvalid, match=r"another form|something else|32 bytes"):
        Checkpoint.parse(f"o\n1\n{root[:-2]}{last}=\n")


def test_witness_is_believed_by_its_key_and_tells_the_moment() -> None:
    assert cosigned_by(note(cosigned()), [WITNESS]) == {WITNESS.name: MOMENT}
    assert NoteKey.parse(str(WITNESS)) == WITNESS
    # The newest of several; and whom nobody named is ignored, whatever stands there.
    other = NoteKey("other.example", COSIGNATURE, PUBLIC)
    both = note(cosigned(), cosigned(MOMENT + 5), NoteSignature(other.name, other.key_id, b"junk"))
    assert cosigned_by(both, [WITNESS]) == {WITNESS.name: MOMENT + 5}
    assert cosigned_by(note(), [WITNESS]) == {}


def _log_key_signature() -> NoteSignature:
    # A signature of the log's own kind does not pass for a witness's.
    return NoteSignature(WITNESS.name, WITNESS.key_id, SECRET.sign(CHECKPOINT.text.encode()))


@each_row(
    "forged",
    [
        cosigned(text=CHECKPOINT.text.replace("5", "6")),
        NoteSignature(WITNESS.name, WITNESS.key_id, b"\0" * 72),
        NoteSignature(WITNESS.name, WITNESS.key_id, b"short"),
        NoteSignature(
            WITNESS.name, WITNESS.key_id, (MOMENT + 1).to_bytes(8, "big") + cosigned().signature[8:]
        ),
        cosigned(2**63),
        _log_key_signature(),
    ],
)
def test_signature_that_a_witness_did_not_make_is_refused(forged: NoteSignature) -> None:
    assert cosigned_by(note(cosigned()), [WITNESS])
    with pytest.raises(NoteInvalid, match=WITNESS.name):
        cosigned_by(note(forged), [WITNESS])
    with pytest.raises(NoteInvalid):  # beside a good one, too
        cosigned_by(note(cosigned(), forged), [WITNESS])


@each_row(
    "key",
    [
        "", "PeterNeumann", PETER.replace("c74f20a3", "c74f20a4"), PETER.replace("Peter", "Pater"),
        PETER.replace("ARpc", "Ahpc"), PETER + "AAAA", PETER.replace("PeterN", "Peter N"),
        PETER.rpartition("+")[0] + "+" + "!" * 44,
    ],
)  # fmt: skip
def test_other_text_is_no_key(key: str) -> None:
    with pytest.raises(NoteInvalid):
        NoteKey.parse(key)


@for_each([
        b"", b"text\n", b"\n\n", b"text\n\nno signature\n", b"text\n\n\xe2\x80\x94 name\n",
        b"text\n\n\xe2\x80\x94 name AAAA\n", b"text\n\n\xe2\x80\x94 na+me AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 name AAAAAAAA", b"te\0xt\n\n", b"te\rxt\n\n", b"te\xffxt\n\n",
        b"x" * MAX_NOTE_BYTES + b"\n\n",
        b"text\n\n" + b"\xe2\x80\x94 name AAAAAAAA\n" * (MAX_SIGNATURES + 1),
    ])  # fmt: skip
def test_other_bytes_are_no_note(data: bytes) -> None:
    assert len(Note.parse(b"text\n\n\xe2\x80\x94 name AAAAAAAA\n").signatures) == 1
    with pytest.raises(NoteInvalid):
        Note.parse(data)


# ── proofs in files ───────────────────────────────────────────────────────────────────────────────


def proof(index: int) -> LogProof:
    from aperio_cli.models.tlog.merkle import inclusion_proof

    return LogProof(index, inclusion_proof(index, 5, TREE.node), note(cosigned()))


@each_row("index", range(5))
def test_proof_comes_back_and_holds_for_its_entry_only(index: int) -> None:
    found = LogProof.parse(proof(index).to_bytes())
    assert found == proof(index)
    assert found.check(ENTRIES[index]) == CHECKPOINT
    for other in {*range(5)} - {index}:
        with pytest.raises(ProofInvalid):
            found.check(ENTRIES[other])


def test_extra_data_is_passed_over() -> None:
    data = proof(3).to_bytes().replace(b"\nindex", b"\nextra aGVsbG8=\nindex", 1)
    assert LogProof.parse(data) == proof(3)


def test_proof_of_the_only_entry_has_no_hashes() -> None:
    only = Checkpoint("o", 1, leaf_hash(b"x"))
    alone = LogProof(0, (), Note(only.text))
    assert LogProof.parse(alone.to_bytes()).check(b"x") == only


@each_row(
    ("old", "new"),
    [
        (b"@v1", b"@v2"), (b"index 3", b"index 03"), (b"index 3", b"index -3"),
        (b"index 3\n", b""), (b"index 3", b"index \xd9\xa3"), (b"=\n\n", b"=\n"),
        (b"index 3\n", b"index 3\n" + b"A" * 43 + b"=\n" * 70), (b"index 3\n", b"index 3\nAA\n"),
        (b"c2sp", b" c2sp"), (b"index 3\n", b"index 3\r\n"),
    ],
)  # fmt: skip
def test_other_bytes_are_no_proof(old: bytes, new: bytes) -> None:
    data = proof(3).to_bytes()
    assert LogProof.parse(data) == proof(3)
    assert old in data
    with pytest.raises(NoteInvalid):
        LogProof.parse(data.replace(old, new))


def test_proof_without_end_is_refused() -> None:
    with pytest.raises(NoteInvalid, match="longer than"):
        LogProof.parse(proof(0).to_bytes() + b"x" * MAX_PROOF_BYTES)
