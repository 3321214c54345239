"""A hypothesis strategy that damages file contents: it cuts them, and replaces parts by odd ones."""

from hypothesis import strategies as st

ODD = [b"", b"null", b"-1", b"1e999", b"NaN", b"[]", b"{}", b'"', b",", b"\n", b"\xff", b"\0"]
ODD += [b"9" * 30, b"\xe2\x80\xa8", b":", b"*a", b"../", b"<script>"]


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """Replace up to three parts of the content by odd ones, and perhaps cut off its end."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 12)))
        content = content[:start] + draw(st.sampled_from(ODD)) + content[end:]
    return content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content
