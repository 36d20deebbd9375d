"""The section `identity` of the site file: which directory knows the people, and what they may do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from deskside.site.machines import Section
from deskside.site.secrets import SecretSource
from deskside.site.values import ClientId, Dn, GroupField, Issuer, Label, LdapField, Username, wrong


class CaFile(Section):
    """A certificate authority in a file."""

    file: Path = Field(
        examples=["nas-ca.pem"],
        description="PEM file, relative to the site file. The authority, not the server's own leaf.",
    )


class Allow(Section):
    """Who may log in: exactly one rule."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"oneOf": [{"required": ["group"]}, {"required": ["all"]}]},
    )

    group: GroupField | None = Field(
        None,
        description="The group whose members may log in: its distinguished name, or its name alone where the "
        "kind says where groups are (`synology`, `openldap`) or knows them by name (`okta`).",
    )
    all: Literal[True] | None = Field(None, description="`true`: whoever has an account may log in.")

    @model_validator(mode="before")
    @classmethod
    def _true(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("all") in ("true", "True", "TRUE"):
            return {**value, "all": True}
        return value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.group is None) == (self.all is None):
            raise wrong("needs exactly one rule", "write {group: DN} or {all: true}")
        return self


class BindAccount(Section):
    """An account of the directory that reads it."""

    dn: Dn = Field(
        examples=["uid=reader,cn=users,dc=lab,dc=example"], description="Distinguished name of the account."
    )
    password: SecretSource = Field(
        examples=["{file: reader.secret}"], description="{env: NAME} or {file: PATH}."
    )


class LocalAdmin(Section):
    """An account of the hub alone; the hub keeps a salted hash of its password."""

    name: Username = Field(examples=["breakglass"], description="A name that the directory does not have.")
    password: SecretSource = Field(
        examples=["{file: breakglass.secret}"],
        description="{env: NAME} or {file: PATH}; 12 characters or more. Asked for at every plan.",
    )


class Identity(Section):
    """The directory that knows the people."""

    kind: Literal["ldap", "synology", "openldap", "okta"] = Field(
        "ldap",
        description="`ldap`: an existing LDAP directory; `synology`: the LDAP Server package of a Synology; "
        "`openldap`: Deskside runs one on a host; `okta`: Okta, or another OpenID Connect provider.",
    )
    server: LdapField | None = Field(
        None,
        examples=["ldaps://nas.lab.example"],
        description="With `ldap` and `synology`: ldaps://NAME, or ldap://NAME, which always means StartTLS. "
        "The name must stand in the directory's certificate.",
    )
    fallback: LdapField | None = Field(
        None,
        examples=["ldaps://nas2.lab.example"],
        description="With `ldap` and `synology`: a second server of the same directory, asked when the first "
        "does not answer.",
    )
    on: Label | None = Field(
        None, examples=["ws1"], description="With `openldap`: the managed host that runs it."
    )
    replica: Label | None = Field(
        None,
        examples=["ws2"],
        description="With `openldap`: another managed host, which has a copy and answers when the first does "
        "not.",
    )
    ca: CaFile | None = Field(
        None,
        description="Authority that signed the certificate of the directory or provider; by default those "
        "the hosts trust. `openldap` has the site's own.",
    )
    base: Dn | None = Field(
        None,
        examples=["dc=lab,dc=example"],
        description="Base of the directory, as dc=lab,dc=example; with `openldap` by default of the "
        "site's name.",
    )
    user_dn: str = Field(
        "uid={username},cn=users,{base}",
        description="Distinguished name of a user, with {username} and {base} to be filled in.",
    )
    issuer: Issuer | None = Field(
        None,
        examples=["https://lab.okta.com/oauth2/default"],
        description="With `okta`: the provider's issuer, as its discovery document names it.",
    )
    client_id: ClientId | None = Field(
        None, examples=["0oa1b2c3d4"], description="With `okta`: the hub's client, as registered there."
    )
    client_secret: SecretSource | None = Field(
        None, examples=["{file: okta.secret}"], description="With `okta`: {env: NAME} or {file: PATH}."
    )
    username_claim: str = Field(
        "preferred_username",
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$",
        description="With `okta`: the claim that holds a user's name.",
    )
    groups_claim: str = Field(
        "groups",
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$",
        description="With `okta`: the claim that lists a user's groups.",
    )
    allow: Allow = Field(
        examples=['{group: "cn=ai,cn=groups,dc=lab,dc=example"}'],
        description="Who may log in: {group: NAME} or {all: true}.",
    )
    admins: tuple[Username, ...] = Field((), description="Users who see and stop the desks of others.")
    bind: BindAccount | None = Field(
        None,
        description="An account of few rights that `check`, the hosts and the hub look people up with. "
        "`openldap` makes its own.",
    )
    manager: BindAccount | None = Field(
        None,
        description="With `ldap` and `synology`: an account that may change the directory. Without one "
        "Deskside only reads it.",
    )
    break_glass: LocalAdmin | None = Field(
        None, description="An admin of the hub who can log in while the directory is away."
    )

    host_login: bool = Field(
        False,
        description="Whether these people also log in to servers and workers over SSH (SSSD). Needs `bind`.",
    )
    group_class: str = Field(
        "posixGroup",
        pattern=r"^[A-Za-z][A-Za-z0-9-]*$",
        description="Object class of the directory's groups, for `host_login`; posixGroup or groupOfNames as "
        "a rule. Groups need a gidNumber and members by their distinguished names (`member`).",
    )
    host_admins: GroupField | None = Field(
        None,
        examples=["cn=administrators,cn=groups,dc=lab,dc=example"],
        description="Group whose members may become root on the hosts by sudo; by default nobody may.",
    )
