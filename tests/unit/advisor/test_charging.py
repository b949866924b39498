"""Prices as the ledger asks for them."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest

from trimtab.advisor.charging import ChargedPrices
from trimtab.clock import ManualClock

SUMMER_S = 1_785_542_400.0  # 2026-08-01: after the list
HARDWARE = "[hardware.local]\nusd_per_hour = 0.5\n"


def test_prices_of_the_list_are_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIMTAB_PRICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    prices = ChargedPrices("us-east-1", now_s=ManualClock(SUMMER_S).now_s)
    assert prices.usd_per_hour("ml.m5.large") == Fraction("0.115")
    assert prices.usd_per_hour("ml.unheard.large") is None
    assert prices.usd_per_hour("") is None
    one, two = prices.serverless_usd_per_s(1024), prices.serverless_usd_per_s(2048)
    assert one is not None
    assert two == 2 * one
    assert prices.notes(["ml.m5.large"]) == []
    (missing, derived) = sorted(prices.notes(["ml.unheard.large", "ml.serverless.2048"]), key=len, reverse=True)
    assert "ml.unheard.large" in missing + derived
    assert "derived" in missing + derived


def test_a_price_that_the_user_changes_holds_soon_and_a_mistake_leaves_what_was(tmp_path: Path) -> None:
    clock, file = ManualClock(), tmp_path / "prices.toml"
    file.write_text(HARDWARE)
    prices = ChargedPrices("us-east-1", now_s=clock.now_s, path=file)
    assert prices.usd_per_hour("local") == Fraction("0.5")
    for text, expected in ((HARDWARE.replace("0.5", "0.75"), "0.75"), ("[hardware", "0.75"), (HARDWARE, "0.5")):
        before = file.stat().st_mtime_ns
        file.write_text(text)
        os.utime(file, ns=(before + 10**9, before + 10**9))
        clock.advance(6)
        assert prices.usd_per_hour("local") == Fraction(expected)


def test_a_file_of_prices_that_is_not_there_leaves_the_list(tmp_path: Path) -> None:
    prices = ChargedPrices("us-east-1", now_s=ManualClock().now_s, path=tmp_path / "none.toml")
    assert prices.usd_per_hour("ml.m5.large") == Fraction("0.115")
