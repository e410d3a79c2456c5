"""The page at ``/``, on which one sees the cache at work."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

router = APIRouter(include_in_schema=False)


@router.get("/")
def show_page() -> FileResponse:
    """One file, which sends requests to the shop as any client does."""
    return FileResponse(Path(__file__).with_name("page.html"))
