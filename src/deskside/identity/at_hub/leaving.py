"""Runs in the hub: who has left the directory is put out within minutes, also when nobody told the hub.

Whatever authenticator the hub has is asked about everybody whom the hub knows, by its `refresh_user`. Only a
plain "no" puts somebody out: a directory that cannot be asked says nothing about anybody. `forget.py` stands
in front of this file. Homes are never touched.
"""

import asyncio

from traitlets import Float, Integer, List, Unicode
from traitlets.config import LoggingConfigurable


class Leaving(LoggingConfigurable):
    """Asks about everybody, every `interval` seconds."""

    interval = Float(300.0, config=True, help="Seconds between two looks.")
    at_once = Integer(4, config=True, help="How many people are asked about at the same time.")
    patience = Float(30.0, config=True, help="Seconds for the answer about one person.")
    spared = List(Unicode(), config=True, help="Local accounts, which no directory knows.")

    async def watch(self):
        """Look for ever; nothing that goes wrong ends it."""
        while True:
            await asyncio.sleep(self.interval)
            try:
                await self.look()
            except Exception:
                self.log.exception("Looking for people who left the directory failed; trying again")

    async def look(self):
        """Ask about everybody, and put out who is refused; names of those who were."""
        known = [name for name in self.known() if name not in self.spared]
        turn = asyncio.Semaphore(self.at_once)
        answers = await asyncio.gather(*(self.stays(name, turn) for name in known))
        refused = [name for name, stays in zip(known, answers, strict=True) if not stays]
        # Admins may be let in by their names alone, whatever the directory says of groups.
        others = set(known) - set(self.parent.authenticator.admin_users) or set(known)
        if len(refused) > 1 and others <= set(refused):
            self.log.error(
                "The directory seems to know nobody any more (%s). That is hardly so: nobody is put out",
                ", ".join(refused),
            )
            return []
        return [name for name in refused if await self.put_out(name)]

    def known(self):
        """Names of everybody in the hub's database."""
        from jupyterhub import orm

        return [user.name for user in self.parent.db.query(orm.User)]

    async def stays(self, name, turn):
        """False where the authenticator refuses the person; True for everything else."""
        async with turn:
            user = self.parent.users.get(name)
            if user is None:
                return True
            try:
                asked = self.parent.authenticator.refresh_user(user)
                return await asyncio.wait_for(asked, self.patience) is not False
            except Exception as error:
                self.log.warning("Whether %s is still there is not known: %s", name, type(error).__name__)
                return True

    async def put_out(self, name):
        """Put somebody out, through the hub's own API as Deskside does; whether it worked."""
        hub = self.parent.hub
        api = f"http://127.0.0.1:{hub.port}{hub.base_url.rstrip('/')}/api"
        token = next(one["api_token"] for one in self.parent.services if one["name"] == "deskside")
        try:
            await asyncio.to_thread(forget, api, token, name)
        except OSError as error:
            self.log.error("%s left the directory, and cannot be put out yet: %s", name, error)
            return False
        self.log.warning("%s left the directory, and was put out", name)
        return True


async def begin_watching():
    """Watch as soon as the hub is up."""
    from jupyterhub.app import JupyterHub

    while not (JupyterHub.initialized() and getattr(JupyterHub.instance(), "authenticator", None)):  # noqa: ASYNC110
        await asyncio.sleep(1)
    await Leaving(parent=JupyterHub.instance()).watch()


try:
    # A task is kept by who names it.
    WATCHING = asyncio.get_running_loop().create_task(begin_watching())
except RuntimeError:
    # A program that only reads the configuration, as `jupyterhub upgrade-db`.
    WATCHING = None
