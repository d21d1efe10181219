"""Other people's sentencepiece models: ids as sentencepiece gives them, control pieces never made of a text."""

import io

import pytest
from gpt.tokenizers import SentencePieceTokenizer, TokenizerError, TokenizerFileError, load_tokenizer
from gpt.tokenizers.sentencepiece_file import proto
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

TEXT = ["the cat sat on the mat.", "the dog ate the hat!", "who ate my hat? 12 34", "在山里有一只猫。"] * 20
TEXTS = ["the cat", " the cat", "a  b", "hat 12\n", "山里", "", "<s>the</s>", "<unk> <0x41>"]


def trained(**options) -> bytes:
    out = io.BytesIO()
    settings = {"model_type": "bpe", "vocab_size": 340, "byte_fallback": True, "minloglevel": 2}
    settings |= {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "character_coverage": 1.0}
    SentencePieceTrainer.train(sentence_iterator=iter(TEXT), model_writer=out, **settings | options)
    return out.getvalue()


@pytest.mark.parametrize("prefix", [True, False])
def test_ids_are_those_of_sentencepiece_and_text_comes_back(prefix):
    model = trained(add_dummy_prefix=prefix)
    tokenizer, theirs = SentencePieceTokenizer(model, bos=1, ends=(2,)), SentencePieceProcessor(model_proto=model)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert ids == theirs.encode(text) and not set(ids) & {0, 1, 2}
        assert tokenizer.decode(ids) == text
    assert tokenizer.special == {"<unk>": 0, "<s>": 1, "</s>": 2}


def test_a_character_without_piece_or_bytes_is_named():
    tokenizer = SentencePieceTokenizer(trained(byte_fallback=False, vocab_size=60))
    with pytest.raises(TokenizerError, match=r"U\+00E9"):
        tokenizer.encode("hat\u00e9")


def test_saved_and_loaded_it_is_the_same(tmp_path):
    tokenizer = SentencePieceTokenizer(trained(), bos=1, ends=(2,), size=400)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.fingerprint == tokenizer.fingerprint and (again.bos, again.ends) == (1, {2})
    assert again.vocab_size == 400 and again.encode("the cat") == tokenizer.encode("the cat")


def test_what_is_no_model_is_refused(tmp_path):
    for data in (b"", b"no model", trained()[:-200]):
        with pytest.raises(TokenizerError):
            SentencePieceTokenizer(data)
    with pytest.raises(TokenizerError, match="the model 10 ids"):
        SentencePieceTokenizer(trained(), size=10)
    with pytest.raises(TokenizerError, match="start and end"):
        SentencePieceTokenizer(trained(), ends=(99999,))
    SentencePieceTokenizer(trained()).save(tmp_path)
    path = tmp_path / "tokenizer.model"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(TokenizerFileError, match="damaged"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("prefix", [True, False])
def test_a_model_written_from_its_pieces_is_the_same_one(prefix):
    model = trained(add_dummy_prefix=prefix)
    theirs = SentencePieceProcessor(model_proto=model)
    kinds = [2, 3, 3, *[6] * 256, *[1] * (theirs.get_piece_size() - 259)]
    pieces = [(theirs.id_to_piece(i), theirs.get_score(i), kind) for i, kind in enumerate(kinds)]
    again = SentencePieceTokenizer(proto(pieces, {"unk": 0, "bos": 1, "eos": 2}, prefix))
    for text in TEXTS:
        assert again.encode(text) == theirs.encode(text) and again.decode(again.encode(text)) == text
