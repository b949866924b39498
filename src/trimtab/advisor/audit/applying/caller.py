"""Calls of an account, made with the credentials that it is audited with."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from trimtab.advisor.audit.applying.change import Answer, Refused
from trimtab.advisor.audit.reading.login import Login
from trimtab.advisor.finding import Call
from trimtab.errors import Invalid


class AccountCaller:
    """See `Caller`. botocore's errors end here."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def call(self, call: Call) -> Answer:
        """What was answered. Refused: by the account. Invalid: botocore knows no such call, or not these parameters."""
        client = self._login.client(call.service)
        try:
            answer: Answer = getattr(client, call.operation)(**call.parameters)
        except ClientError as error:
            said = error.response.get("Error", {})
            raise Refused(str(said.get("Code", "Unknown")), str(said.get("Message", ""))) from error
        except BotoCoreError as error:
            raise Invalid(f"{call.service} {call.operation} could not be called: {error}") from error
        return answer
