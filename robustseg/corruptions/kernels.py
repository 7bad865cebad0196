"""The Gaussian weights of the blurs, frozen to the bit.

They follow from radius and sigma, but ``exp`` differs in its last bit between processors and
libraries, and that bit decides whether a white area stays 255 or becomes 254: with another ``exp``
motion blur of severity 4 changed 3 % of the samples of a test picture by one level. Frozen, they
no longer depend on the machine. The values are those of numpy with AVX-512.
"""

from __future__ import annotations

import functools

import numpy as np

from robustseg.corruptions.pixels import FloatArray

__all__ = ["GAUSSIANS", "HALF_GAUSSIANS", "gaussian_weights", "half_gaussian_weights"]


@functools.cache
def gaussian_weights(sigma: float) -> FloatArray:
    """Return a Gaussian, cut at four sigma and scaled to sum to one.

    Args:
        sigma: Standard deviation in pixels, a key of ``GAUSSIANS``.

    Returns:
        float64 (2 R + 1,), R = 4 sigma rounded, symmetric, read-only.
    """
    half = _parse(GAUSSIANS[sigma])
    return _read_only(np.concatenate((half[:0:-1], half)))


@functools.cache
def half_gaussian_weights(radius: int, sigma: float) -> FloatArray:
    """Return the half of a Gaussian that starts at its peak, scaled to sum to one.

    Args:
        radius: Half the number of steps.
        sigma: Standard deviation in pixels; with the radius a key of ``HALF_GAUSSIANS``.

    Returns:
        float64 (2 radius + 1,), falling, read-only.
    """
    return _read_only(_parse(HALF_GAUSSIANS[radius, sigma]))


def _parse(text: str) -> FloatArray:
    return np.array([float.fromhex(word) for word in text.split()])


def _read_only(weights: FloatArray) -> FloatArray:
    weights.flags.writeable = False
    return weights


GAUSSIANS: dict[float, str] = {
    0.7: """
        0x1.23c2d39adde1dp-1 0x1.a4a892b55c7f0p-3 0x1.3b3170a27df78p-7 0x1.eaf0abfddfc56p-15
    """,
    0.9: """
        0x1.c5e85af5bea50p-2 0x1.e9aeb020a6f44p-3 0x1.336a4e8e9e375p-5 0x1.c138a6b624c17p-10
        0x1.7dff10d1ee066p-16
    """,
    1.0: """
        0x1.9884a307594fbp-2 0x1.ef8eb9ad499bap-3 0x1.ba4b99d1799abp-5 0x1.22724cb7eb269p-8
        0x1.18a9c4fd536c6p-13
    """,
    1.1: """
        0x1.73634be2f80f5p-2 0x1.eb5b6769ebe0ep-3 0x1.1c79d98799072p-4 0x1.204acf6bed14ep-7
        0x1.ff65f12175c9fp-12
    """,
    1.5: """
        0x1.1058ef29a59d7p-2 0x1.b42851d1c8a96p-3 0x1.bfdc88289323cp-4 0x1.26dd9e7a284e1p-5
        0x1.f1e741f80c9b8p-8 0x1.0d891ab53680ap-10 0x1.7638649a0fcd1p-14
    """,
    2.0: """
        0x1.98862a07ae7b4p-3 0x1.68856f9ab1982p-3 0x1.ef9093fc46e5ap-4 0x1.0941b71ceef37p-4
        0x1.ba4d4125ffd2ap-6 0x1.1f30504e20207p-7 0x1.227362b5fc92dp-9 0x1.c98b8c5d0dda5p-12
        0x1.18aad19e4159bp-14
    """,
    3.0: """
        0x1.105a329f98197p-3 0x1.01a25f86eb137p-3 0x1.b42a57d56c0bep-4 0x1.4a614d1afd337p-4
        0x1.bfde9c12bec92p-5 0x1.0fa58939b528fp-5 0x1.26defcaeb0202p-6 0x1.1e6bccad344bap-7
        0x1.f1e9915139406p-9 0x1.8345966f69518p-10 0x1.0d8a5ad43c165p-11 0x1.4fbe39149e277p-13
        0x1.763a210dfb306p-15
    """,
    4.0: """
        0x1.988806a9e3a2ep-4 0x1.8bf65056bb619p-4 0x1.6887143b624f7p-4 0x1.34602a221842cp-4
        0x1.ef92d62bd84abp-5 0x1.76141cc98066cp-5 0x1.0942ec97f52edp-5 0x1.616787004c73fp-6
        0x1.ba4f4530f2e69p-7 0x1.04053ad72a045p-7 0x1.1f319f5fd1d9ep-8 0x1.29fd07d6ae2c8p-9
        0x1.2274b595fa0dep-10 0x1.09f5f6e2ac01cp-11 0x1.c98da230e44c3p-13 0x1.71bc883f2eb6cp-14
        0x1.18ac19141d621p-15
    """,
    6.0: """
        0x1.105b3ff2ae294p-4 0x1.0c9990adce751p-4 0x1.01a35e4c1139ep-4 0x1.e0b51a9d9de69p-5
        0x1.b42c07267189bp-5 0x1.80eba0f8732c1p-5 0x1.4a6293d0084b2p-5 0x1.13cebab768bf4p-5
        0x1.bfe056f6b92d4p-6 0x1.61af4ce1724abp-6 0x1.0fa695da23fc2p-6 0x1.95db0e7acbd52p-7
        0x1.26e0204679b92p-7 0x1.a0bf1bcbe1a45p-8 0x1.1e6ce7e9da4b2p-8 0x1.7eeda023d0e58p-9
        0x1.f1eb7db1bd0cbp-10 0x1.3ada5e279d656p-10 0x1.83471566d3f38p-11 0x1.cf4fd0eab9b7cp-12
        0x1.0d8b655f7b04ep-12 0x1.3109b9034c193p-13 0x1.4fbf851751e70p-14 0x1.676d110f133a3p-15
        0x1.763b931f10805p-16
    """,
}
"""Sigma to the weights at 0, 1, 2, ... pixels from the peak."""

HALF_GAUSSIANS: dict[tuple[int, float], str] = {
    (10, 3): """
        0x1.e0c1f6d75df88p-3 0x1.c6c6fb596e058p-3 0x1.80f5ed2dbd8ffp-3 0x1.239821f98cb1bp-3
        0x1.8b4a704c85ce2p-4 0x1.df830f2d8ad5dp-5 0x1.0440ffcd7a4a0p-5 0x1.f997877e4bdfap-7
        0x1.b7756be6d4115p-8 0x1.55ce9b86783e2p-9 0x1.dbcb4b3f62f7dp-11 0x1.2853e077f0c15p-12
        0x1.4a4b317a47311p-14 0x1.497018c973de6p-16 0x1.2607b508995dap-18 0x1.d5a96382f141ep-21
        0x1.4fa7c194daec9p-23 0x1.ad50dcdaa0735p-26 0x1.eb5dcb02e8355p-29 0x1.f73e93e834c0cp-32
        0x1.cd3574db83e9ep-35
    """,
    (10, 4): """
        0x1.7377e832c9ac6p-3 0x1.680a1d11b2147p-3 0x1.47d1d7e8ee6b6p-3 0x1.186628178f7c4p-3
        0x1.c29d2a9c5004fp-4 0x1.54242858fe0fep-4 0x1.e2647bc073b4bp-5 0x1.4157ba9201740p-5
        0x1.922ea6efb166cp-6 0x1.d8dc89ce4fdf7p-7 0x1.05238f95a2d1ap-7 0x1.0ef4440afb865p-8
        0x1.081ae2f340b61p-9 0x1.e3aa13efe1058p-11 0x1.a00afbc16db1dp-12 0x1.50316c330cceap-13
        0x1.fe6affd16c8e7p-15 0x1.6bfd81be904f1p-16 0x1.e7af94a4a0adbp-18 0x1.32ea1188cc733p-19
        0x1.6ae5125041a26p-21
    """,
    (12, 4): """
        0x1.7377e213d30dfp-3 0x1.680a1722f1526p-3 0x1.47d1d282174cfp-3 0x1.18662378c1269p-3
        0x1.c29d232f7d6ccp-4 0x1.542422be2d1d5p-4 0x1.e26473cd93f12p-5 0x1.4157b5467cc06p-5
        0x1.922ea04f2b66dp-6 0x1.d8dc8203a4849p-7 0x1.05238b4813316p-7 0x1.0ef43f9404914p-8
        0x1.081ade992e068p-9 0x1.e3aa0bf7a3cddp-11 0x1.a00af4e66fc92p-12 0x1.503166a8e3703p-13
        0x1.fe6af7685490dp-15 0x1.6bfd7bbf25321p-16 0x1.e7af8c9b6cb6ep-18 0x1.32ea0c7a24b2cp-19
        0x1.6ae50c55757adp-21 0x1.9316c1ea509e9p-23 0x1.a49bab739f9b8p-25 0x1.9c4c3b12aadbbp-27
        0x1.7baa5465b8818p-29
    """,
    (12, 8): """
        0x1.85ec294269cbfp-4 0x1.82e35ac1557bdp-4 0x1.79ed048670b83p-4 0x1.6b729efac522ep-4
        0x1.581afba903954p-4 0x1.40bdd32993a6bp-4 0x1.265435f241422p-4 0x1.09e76f89822d3p-4
        0x1.d8fff9f63f3d6p-5 0x1.9e2c2cc289586p-5 0x1.6509fffadf4fbp-5 0x1.2f03deaccb03ep-5
        0x1.fa5b724b6b968p-6 0x1.a084a101ac086p-6 0x1.514e7ec79ce39p-6 0x1.0cec9dfd33eefp-6
        0x1.a62984adcc1b4p-7 0x1.4638bdfadb59fp-7 0x1.f05a49a85d51cp-8 0x1.73c040902aa29p-8
        0x1.121cab31d9c22p-8 0x1.8df7ca0be93b1p-9 0x1.1c6a33b00c35fp-9 0x1.9038c018c6df0p-10
        0x1.1539b77fb3e05p-10
    """,
    (12, 12): """
        0x1.128208205e9bep-4 0x1.118e72a482b9ep-4 0x1.0eb8c00ef3972p-4 0x1.0a0fed5590632p-4
        0x1.03ac62c046f1bp-4 0x1.f75e3ea7b6709p-5 0x1.e4813b0ea640ep-5 0x1.cf1efd10acf17p-5
        0x1.b79e1762347ebp-5 0x1.9e6b3e8aac60fp-5 0x1.83f60c097f591p-5 0x1.68add546cfe1dp-5
        0x1.4cfeb5acd79c7p-5 0x1.314ee6fe535d1p-5 0x1.15fc7d8a83b0bp-5 0x1.f6b72f4ead298p-6
        0x1.c36a1296cf40ep-6 0x1.928b0c4c5a53cp-6 0x1.647a8d1aa0438p-6 0x1.39803ca620ec5p-6
        0x1.11cbf0ad0605ep-6 0x1.daee9a01e28b6p-7 0x1.990fcfd42448ep-7 0x1.5de39a0ab6849p-7
        0x1.293472ab03186p-7
    """,
    (15, 5): """
        0x1.2eaa1595e34afp-3 0x1.28abd614bc3e4p-3 0x1.1764fa84a3203p-3 0x1.f99cf432aed66p-4
        0x1.b78f14f33c392p-4 0x1.6f2684f9b1f81p-4 0x1.26a5289f0c542p-4 0x1.c65f8b79ccec4p-5
        0x1.509ba363015cbp-5 0x1.df2cd45ad736bp-6 0x1.47b07a869266ap-6 0x1.ae9d50f1a868cp-7
        0x1.0fd703cc23f1bp-7 0x1.49c22b14062c5p-8 0x1.8055147edf486p-9 0x1.ae5fc53ac447bp-10
        0x1.cf08e2be78930p-11 0x1.dea3e527ee902p-12 0x1.db5f13a58fe2dp-13 0x1.c59cd441ec482p-14
        0x1.9fe0a3b45bb16p-15 0x1.6e54cb6c05506p-16 0x1.3608f3e1ba976p-17 0x1.f8340845a7175p-19
        0x1.89e961d7bb21fp-20 0x1.27adc7a9283b8p-21 0x1.aa7b2d19bc699p-23 0x1.278385187ef39p-24
        0x1.8978d04bcf71ep-26 0x1.f75bf66d96f01p-28 0x1.3557da8130e44p-29
    """,
    (15, 8): """
        0x1.8529c6d72f2f6p-4 0x1.82227b972f2a7p-4 0x1.79309d228d398p-4 0x1.6abd6f4e0f658p-4
        0x1.576f707acd8fdp-4 0x1.401dedb694640p-4 0x1.25c17b4d46ac4p-4 0x1.0962e0840e395p-4
        0x1.d8142d18aee3cp-5 0x1.9d5db38480588p-5 0x1.645802305dfa9p-5 0x1.2e6ccf7d89dd8p-5
        0x1.f95f04538b898p-6 0x1.9fb4fc6ce70c0p-6 0x1.50a65744ba5abp-6 0x1.0c668d8552ee3p-6
        0x1.a5570fca5d33ep-7 0x1.45961d25ba927p-7 0x1.ef62d87ae8dffp-8 0x1.7306ed37a17e9p-8
        0x1.119404aa4ba17p-8 0x1.8d3164dc426f2p-9 0x1.1bdc6a4b1118ep-9 0x1.8f713b4897ad3p-10
        0x1.14af839fd563dp-10 0x1.795dcabceb816p-11 0x1.fab41ef8d91e9p-12 0x1.4ee91ee177ac6p-12
        0x1.b3dc6ab8a946ap-13 0x1.1739193970632p-13 0x1.603520a3357bfp-14
    """,
    (15, 12): """
        0x1.0a6ba687d1e5ep-4 0x1.097f3e31baf9ap-4 0x1.06beeceeeecb0p-4 0x1.02393eaa59dd5p-4
        0x1.f80bc72cd433ep-5 0x1.e889c3b6571b8p-5 0x1.d63b0548a96e6p-5 0x1.c17a0edf055d0p-5
        0x1.aaaa6d8ea0744p-5 0x1.9235a1ffda497p-5 0x1.7887fbfe8db08p-5 0x1.5e0d8940daa2ep-5
        0x1.432f35d4ba485p-5 0x1.2850387c896f6p-5 0x1.0dcbdff7f3f38p-5 0x1.e7e7a05b3e47bp-6
        0x1.b61d6f9900abdp-6 0x1.86af0162b22bcp-6 0x1.59f9ef05e37ffp-6 0x1.3043c3b87efd8p-6
        0x1.09baec7165f67p-6 0x1.ccf09741c89d5p-7 0x1.8d029ad782607p-7 0x1.5394af31b0b31p-7
        0x1.2072e2042e01fp-7 0x1.e6a3fb021a06cp-8 0x1.97a9e45c48af5p-8 0x1.5323fb9b41b12p-8
        0x1.182ecf3bf6a0dp-8 0x1.cbbed4f4bd53ap-9 0x1.769518b39ac5ap-9
    """,
    (20, 15): """
        0x1.ab5828bc1c1fcp-5 0x1.aa65514ce3a1dp-5 0x1.a79005c04e6bdp-5 0x1.a2e1e40d637c7p-5
        0x1.9c6ab70d67e26p-5 0x1.94401dcdafd33p-5 0x1.8a7d133f147acp-5 0x1.7f4159eae0b9bp-5
        0x1.72b0d0203a834p-5 0x1.64f2b1ac665ffp-5 0x1.5630cc9e723bep-5 0x1.4696aed0d4902p-5
        0x1.3650d1f8b040fp-5 0x1.258bcbcc581b5p-5 0x1.147387752a8bep-5 0x1.03328cf99f12ep-5
        0x1.e3e2b5453b241p-6 0x1.c1aba7369c6b8p-6 0x1.a0058c6b0be65p-6 0x1.7f2f16c007166p-6
        0x1.5f5f7fffb67c4p-6 0x1.40c630181cf57p-6 0x1.238a95117bd9ep-6 0x1.07cc29a982279p-6
        0x1.db454cb575d58p-7 0x1.aa3caf6dc9780p-7 0x1.7c9128b4faddbp-7 0x1.524898bfe0912p-7
        0x1.2b5d582db2f64p-7 0x1.07bf97b582959p-7 0x1.cead9cb6dfd6bp-8 0x1.940656b8a31d0p-8
        0x1.5f3e044c208c3p-8 0x1.300050134a638p-8 0x1.05f2798dc679bp-8 0x1.c16b6242b3c93p-9
        0x1.7fd26e891e9acp-9 0x1.4658739ae6e1fp-9 0x1.143ed9fa9ff2ap-9 0x1.d19980be04743p-10
        0x1.86a240272da73p-10
    """,
}
"""Radius and sigma to the weights at 0, 1, 2, ... pixels from the peak."""
