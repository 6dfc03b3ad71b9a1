"""Records of an event file: their checksums, whatever their length."""

import numpy as np
import pytest
from tensorboardX.crc32c import crc32c

from maml_exp.run.tensorboard import _crc32c_of_many


@pytest.mark.parametrize("parts", [1, 7, 512])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 5_000])
def test_the_checksum_of_many_bytes_is_the_one_made_byte_by_byte(size, parts):
    content = np.random.default_rng(size).bytes(size)
    assert _crc32c_of_many(content, parts) == crc32c(content)


def test_the_checksum_is_crc_32c():
    assert _crc32c_of_many(b"123456789") == 0xE3069283  # the check value of the catalogue of CRCs (CRC-32/ISCSI)
