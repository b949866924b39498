"""What gateways have in hand of each model, as they tell."""

from __future__ import annotations

from collections import Counter


class Hands:
    """Requests that were sent to a model and not answered yet, of all gateways together."""

    def __init__(self) -> None:
        self._by_gateway: dict[int, dict[str, int]] = {}
        self._in_hand: Counter[str] = Counter()

    def tell(self, gateway: int, model: str, count: int) -> None:
        """A gateway has so many in hand now."""
        hands = self._by_gateway.setdefault(gateway, {})
        self._in_hand[model] += count - hands.get(model, 0)
        if not self._in_hand[model]:
            del self._in_hand[model]
        if count:
            hands[model] = count
        else:
            hands.pop(model, None)

    def lost(self, gateway: int) -> list[str]:
        """A gateway is gone; the models that it had anything in hand of."""
        models = list(self._by_gateway.get(gateway, ()))
        for model in models:
            self.tell(gateway, model, 0)
        self._by_gateway.pop(gateway, None)
        return models

    def of(self, model: str) -> int:
        """Those of one model."""
        return self._in_hand[model]

    @property
    def total(self) -> int:
        """All of them."""
        return self._in_hand.total()
