"""report.html: one file, nothing fetched."""


def write_page(path: object, report: object, changes: object, *, num_clips: int) -> None:
    pass
