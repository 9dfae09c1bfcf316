"""Narrator Mode as a chat model: give it a model and a role, and talk to the character."""

import re
from collections.abc import AsyncGenerator, Sequence
from typing import Literal, NamedTuple

from intarsia.audit.roleplay.narration import NarratorConfig, Scene
from intarsia.audit.roleplay.outlines import Outlines
from intarsia.audit.roleplay.prompts import Card
from intarsia.audit.roleplay.roles import Role
from intarsia.errors import InputError
from intarsia.evals.protocol import ChatModel, Message, Reply, Usage


class StoryPiece(NamedTuple):
    """Something that a narrated turn brings.

    Attributes:
        kind: `outline` (the first turn only), `plot`, `check` (`pass` or `revise`), or `reply`: a piece of what the
            character says.
        text: The text.
    """

    kind: Literal["outline", "plot", "check", "reply"]
    text: str


class NarratorChat:
    """A character played in Narrator Mode, as a `ChatModel`.

    The outline is written at the first turn and kept. System messages of the conversation are left out: the role's own
    stands in their place.

    Examples:
        >>> hildegard = NarratorChat(chat_model("openai/gpt-4o-mini"), read_role("hildegard.yaml"))
        >>> run(hildegard.chat([user("How does a synthesizer make a sound?")])).text

    Args:
        model: The model that narrates and plays.
        role: The character.
        config: Which parts of Narrator Mode are on.
        outlines: Outlines to share with other characters of the same model.
    """

    def __init__(
        self,
        model: ChatModel,
        role: Role,
        config: NarratorConfig | None = None,
        *,
        outlines: Outlines | None = None,
    ) -> None:
        self.model = model
        self.role = role
        self.name = f"{role.name}, narrated by {model.name}"
        self._config = config or NarratorConfig()
        self._card = Card(role.name, role.description, role.wiki)
        self._outlines = outlines or Outlines()
        self._told_outline = False

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        seed: int | None = None,
        key: str | None = None,
    ) -> Reply:
        """Answers a conversation in the character's voice; see `ChatModel.chat`.

        Args:
            messages: The turns so far; the last one is the user's.
            temperature: Of sampling.
            max_tokens: Most tokens of each call: of plot and reply together.
            seed: Of sampling.
            key: Names the turn.

        Raises:
            ModelCallError: If the model gives no answer.
            InputError: If the last message is not the user's.
        """
        used: list[Usage] = []
        spoken = self._turn(messages, temperature, max_tokens, seed, key, used)
        text = "".join([piece.text async for piece in spoken if piece.kind == "reply"])
        return Reply(text, sum(used, Usage()) if used else None)

    async def stream(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        seed: int | None = None,
        key: str | None = None,
    ) -> AsyncGenerator[StoryPiece, None]:
        """Answers a conversation piece by piece: the outline, the plot, each check, then the reply word by word.

        The reply begins when its check is done, since a check may change all of it; what is told before lets an
        application show that the story goes on.

        Args:
            messages: The turns so far; the last one is the user's.
            temperature: Of sampling.
            max_tokens: Most tokens of each call.
            seed: Of sampling.
            key: Names the turn.

        Raises:
            ModelCallError: If the model gives no answer.
            InputError: If the last message is not the user's.
        """
        async for piece in self._turn(messages, temperature, max_tokens, seed, key, []):
            yield piece

    async def _turn(
        self,
        messages: Sequence[Message],
        temperature: float,
        max_tokens: int,
        seed: int | None,
        key: str | None,
        used: list[Usage],
    ) -> AsyncGenerator[StoryPiece, None]:
        conversation = [message for message in messages if message.role != "system"]
        if not conversation or conversation[-1].role != "user":
            raise InputError("there is nothing to answer: the last message is not the user's", where=self.name)
        query = conversation[-1].content

        async def ask(asked: Sequence[Message], step: str) -> str:
            name = None if key is None else f"{key}/{step}"
            reply = await self.model.chat(asked, temperature=temperature, max_tokens=max_tokens, seed=seed, key=name)
            if reply.usage is not None:
                used.append(reply.usage)
            return reply.text

        outline = ""
        if self._config.outline:
            outline = await self._outlines.get(self.model, self._card, temperature=temperature, seed=seed)
            if not self._told_outline:
                self._told_outline = True
                yield StoryPiece("outline", outline)
        scene = Scene(self._card, self._config, outline)
        draft = scene.read(await ask(scene.messages(conversation), "reply"))
        if draft.plot:
            yield StoryPiece("plot", draft.plot)
        checking = scene.check(query, draft)
        answer: str | None = None
        number = 0
        while True:
            try:
                asked = next(checking) if answer is None else checking.send(answer)
            except StopIteration as end:
                narration = end.value
                break
            number += 1
            answer = await ask(asked, f"check-{number}")
        if narration.checks:
            yield StoryPiece("check", "pass" if narration.passed else "revise")
        for word in re.findall(r"\S+\s*|\s+", narration.reply):
            yield StoryPiece("reply", word)
