"""API tokens: made at the desk (and shown once), looked at, revoked; never changed."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from eventsource_app.admin.audit import operator
from eventsource_app.admin.readonly import ReadOnlyAdmin
from eventsource_app.http.callers import known_scopes
from eventsource_app.http.tokens import (
    DEFAULT_LIFETIME,
    TokenError,
    check_token,
    create_token,
    revoke_tokens,
)
from eventsource_app.models import ApiToken

if TYPE_CHECKING:  # generic in the stubs only
    ApiTokenForm = forms.ModelForm[ApiToken]
else:
    ApiTokenForm = forms.ModelForm


class NewTokenForm(ApiTokenForm):
    """What one decides about a new token."""

    scopes = forms.MultipleChoiceField(
        choices=lambda: [(scope, scope) for scope in known_scopes()], widget=forms.CheckboxSelectMultiple
    )
    expires_at = forms.SplitDateTimeField(
        required=False,
        initial=lambda: timezone.now() + DEFAULT_LIFETIME,
        widget=AdminSplitDateTime,
        help_text="Empty: valid until it is revoked.",
    )

    class Meta:
        model = ApiToken
        fields = ("name", "scopes", "expires_at")

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        if {"name", "scopes"} <= set(given):
            try:
                check_token(given["name"], given["scopes"], given.get("expires_at"))
            except TokenError as error:
                raise ValidationError(str(error)) from error
        return given


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    list_display = ("name", "prefix", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "prefix")
    fields = ("name", "prefix", "scopes", "created_at", "created_by", "expires_at", "last_used_at", "revoked_at", "revoked_by")  # fmt: skip
    actions: Any = ("revoke",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("eventsource_app.add_apitoken")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("eventsource_app.revoke_apitoken")

    @admin.action(description="Revoke the selected tokens", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        for row in revoke_tokens(queryset, operator(request)):
            self.log_change(request, row, "Revoked.")
            self.message_user(request, f"{row} is revoked.", messages.SUCCESS)

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:
        return NewTokenForm.Meta.fields if obj is None else self.fields

    def get_form(
        self, request: HttpRequest, obj: ApiToken | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        return super().get_form(request, obj, change, **kwargs) if obj else NewTokenForm

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        token = create_token(obj.name, obj.scopes, obj.expires_at, created_by=operator(request))
        obj.pk, obj.prefix = token.row.pk, token.row.prefix
        request.new_token = token.text  # type: ignore[attr-defined]  # for the one page that shows it

    def response_add(
        self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "A new API token",
            "opts": self.model._meta,
            "token": obj,
            "text": request.new_token,  # type: ignore[attr-defined]
        }
        response = TemplateResponse(request, "admin/eventsource_app/apitoken/created.html", context)
        response["Cache-Control"] = "no-store"
        return response
