"""An application's source with every way to use a column, and what only looks like one.

A line that uses a column ends in `# USE: what it does`; `# PERHAPS:` where the source does not say
which model is meant. Every other line must not be reported.
"""

from pathlib import Path

FILES = {
    "web/models.py": '''
        """Profiles have an email, which is the column looked for. Donors have one too, which is not."""
        from django.contrib.auth.models import AbstractUser
        from django.db import models
        from django.db.models import F, Q
        from django.db.models.functions import Lower


        class ProfileQuerySet(models.QuerySet):
            def of(self, address):
                return self.filter(email=address)  # USE: filters on

            def named(self, name):
                return self.filter(name=name)


        class Named(models.Model):
            name = models.CharField("email", max_length=40)

            class Meta:
                abstract = True
                ordering = ["name"]


        class Profile(Named):
            email = models.EmailField("email", unique=True)  # USE: makes unique
            friends = models.ManyToManyField("self")
            objects = ProfileQuerySet.as_manager()

            class Meta:
                ordering = ["-email"]  # USE: orders by
                get_latest_by = "email"  # USE: orders by
                unique_together = [("name", "email")]  # USE: makes unique
                indexes = [
                    models.Index(fields=["name"], name="by_name"),
                    models.Index(fields=["name", "-email"], name="by_email"),  # USE: indexes
                    models.Index(Lower("email"), name="by_lower"),  # USE: constrains
                ]
                constraints = [
                    models.UniqueConstraint(fields=["email"], name="one"),  # USE: makes unique
                    models.CheckConstraint(condition=~Q(email=""), name="has"),  # USE: constrains
                    models.CheckConstraint(condition=Q(email__isnull=False), name="not_null"),
                ]

            def same(self):
                return self.friends.filter(email=self.email)  # USE: filters on


        class Staff(Profile):
            desk = models.CharField(max_length=9)


        class Donor(models.Model):
            email = models.EmailField(unique=True)
            profile = models.ForeignKey(Profile, models.CASCADE, related_name="donors")
            contact = models.ForeignKey("web.Profile", models.CASCADE, to_field="email", related_name="+")  # USE: joins on

            class Meta:
                ordering = ["email"]
                constraints = [models.UniqueConstraint(fields=["email"], name="one_donor")]


        class Donation(models.Model):
            donor = models.ForeignKey(Donor, models.CASCADE)
            amount = models.IntegerField()

            class Meta:
                ordering = ["donor__profile__email"]  # USE: orders by
    ''',
    "web/admin.py": """
        from django.contrib import admin
        from .models import Donation, Donor, Profile


        @admin.register(Profile)
        class ProfileAdmin(admin.ModelAdmin):
            list_display = ["email"]
            readonly_fields = ("email",)
            search_fields = [
                "name",
                "=email",  # USE: searches
            ]
            list_filter = ("name", ("email", admin.AllValuesFieldListFilter))  # USE: filters on
            ordering = ("email",)  # USE: orders by

            def get_queryset(self, request):
                return super().get_queryset(request).exclude(email="")  # USE: filters on

            def mark(self, request, queryset):
                queryset.filter(email__endswith="@example.org").update(name="x")  # USE: filters on


        class DonorAdmin(admin.ModelAdmin):
            search_fields = ["email"]
            list_filter = ["email", "profile__email"]  # USE: filters on


        class DonationAdmin(admin.ModelAdmin):
            search_fields = ["donor__email"] + ["donor__profile__email"]  # USE: searches


        admin.site.register(Donor, DonorAdmin)
        admin.site.register([Donation], DonationAdmin)
    """,
    "web/views.py": '''
        """Nothing here is about email, says this text: SELECT email FROM web_profile."""
        import web.models
        from django.contrib.auth import get_user_model
        from django.db import connection, models
        from django.db.models import Count, Exists, F, Max, OuterRef, Q, Value
        from django.db.models.expressions import RawSQL
        from django.shortcuts import get_object_or_404, render
        from django.utils.translation import gettext as _
        from django.views.generic import ListView, DetailView
        from web import models as tables
        from web.models import Donation, Donor, Profile as Person

        FIRST = Person.objects.filter(email="a@example.org")  # USE: filters on


        def lookups(request, address):
            Person.objects.get(email=address)  # USE: filters on
            Person.objects.filter(email__iexact=address)  # USE: filters on
            Person.objects.all().order_by("name").exclude(name="x", email=address)  # USE: filters on
            Person.objects.get_or_create(email=address, defaults={"name": "x"})  # USE: filters on
            Person.objects.update_or_create(name="x", defaults={"email": address})
            Person.objects.filter(**{"email__contains": address})  # USE: filters on
            Person.objects.filter(Q(name="x") | ~Q(email=address))  # USE: filters on
            get_object_or_404(Person, email=address)  # USE: filters on
            get_object_or_404(Person.objects.named("x"), pk=1, email=address)  # USE: filters on
            web.models.Profile.objects.filter(email=address)  # USE: filters on
            tables.Profile.objects.filter(email=address)  # USE: filters on
            Donation.objects.filter(donor__profile__email=address)  # USE: filters on
            Donation.objects.select_related("donor").filter(donor__email=address)
            tables.Staff.objects.filter(email=address)  # USE: filters on
            return [p for p in Person.objects.all() if p.friends.filter(email=address).exists()]  # USE: filters on


        def variables(address):
            people = Person.objects.all()
            people = people.filter(name="x")
            if address:
                people = people.filter(email=address)  # USE: filters on
            for donor in Donor.objects.filter(email=address):
                donor.profile.donors.filter(email=address)
                donor.profile.friends.filter(email=address)  # USE: filters on
            one = Person.objects.get(pk=1)
            one.donors.filter(email=address)
            one.friends.filter(email=address)  # USE: filters on
            Person.objects.first().donors.filter(email=address)
            people = Donor.objects.all()
            return people.filter(email=address)


        def annotated(rows: "models.QuerySet[Person]", one: Person, other: Donor, people):
            rows.filter(email="x")  # USE: filters on
            one.donors.filter(email="x", profile__email="y")  # USE: filters on
            other.profile.donors.filter(email="x")
            people.filter(email="x")  # PERHAPS: filters on
            people.filter(profile__email="x")  # PERHAPS: filters on
            people.filter(desk__email="x")
            people.order_by("email")  # PERHAPS: orders by


        async def later(address):
            await Person.objects.aget(email=address)  # USE: filters on
            async for one in Person.objects.filter(name="x"):
                one.friends.filter(email=address)  # USE: filters on


        def orders():
            Person.objects.order_by("name", "-email")  # USE: orders by
            Person.objects.order_by(F("email").asc(nulls_last=True))  # USE: computes with
            Person.objects.latest("email")  # USE: orders by
            Person.objects.order_by("?").order_by("name")
            Donor.objects.order_by("email", "profile__name")
            return sorted(Person.objects.all(), key=lambda p: p.email)


        def computes(address):
            Person.objects.aggregate(Max("email"))  # USE: computes Max of
            Person.objects.annotate(m=models.Max("email"))  # USE: computes Max of
            Person.objects.annotate(n=Count("email"))
            Person.objects.annotate(n=Count("email", distinct=True))  # USE: computes Count of
            Person.objects.values("email").annotate(n=Count("pk"))  # USE: groups by
            Person.objects.values("name").annotate(n=Count("pk"))
            Person.objects.values_list("email", flat=True).distinct()  # USE: tells apart by
            Person.objects.values_list("email", flat=True)
            Person.objects.distinct("email")  # USE: tells apart by
            Person.objects.filter(name=F("email"))  # USE: computes with
            Person.objects.filter(Exists(Donor.objects.filter(email=OuterRef("email"))))  # USE: joins on
            Person.objects.annotate(kind=Value("email"))
            Person.objects.filter(name="x").update(email=F("name"))  # USE: writes plaintext to
            Person.objects.filter(name="x").update(email=address)
            Donor.objects.annotate(theirs=F("profile__email"), own=F("email"))  # USE: computes with


        def raw(address):
            Person.objects.raw("select * from web_profile where email = %s", [address])  # USE: names in SQL
            Person.objects.raw("select * from web_profile where name = %s", ["email"])
            Person.objects.extra(where=["email = %s"], params=[address])  # USE: names in SQL
            Donor.objects.extra(where=["email = %s"], params=[address])
            Person.objects.annotate(x=RawSQL("select email from web_profile", []))  # USE: names in SQL
            with connection.cursor() as cursor:
                cursor.execute("SELECT email FROM web_donor")
                cursor.execute("SELECT my_email, email2 FROM web_profile")
                cursor.execute(f"SELECT {address} FROM web_profile ORDER BY LOWER(email)")  # USE: names in SQL
                cursor.execute(
                    """
                    SELECT name FROM "web_profile" -- not the email
                    """
                )


        def harmless(request, session, address):
            Person.objects.create(email=address)
            Person(email=address).save()
            Person.objects.filter(email__isnull=True).filter(email=None)
            Person.objects.only("email").defer("email").values("email")
            {"email": 1}.get("email")
            request.GET.get("email", _("email"))
            filter(lambda p: p.email == address, [])
            session.get("https://example.org", email=address)  # PERHAPS: filters on
            render(request, "email", {"email": address})
            # Person.objects.filter(email=address)
            return "Person.objects.filter(email=address)"


        class People(ListView):
            model = Person
            ordering = "email"  # USE: orders by

            def get_queryset(self):
                return self.model.objects.filter(email=self.request.GET["q"])  # USE: filters on


        class Donors(ListView):
            queryset = Donor.objects.all()
            ordering = ["email"]

            def get_queryset(self):
                return super().get_queryset().filter(email="x").filter(profile__email="y")  # USE: filters on


        class ByEmail(DetailView):
            model = Person
            slug_field = "email"  # USE: looks up by
    ''',
    "web/forms.py": """
        import django_filters
        from django import forms
        from rest_framework import serializers, viewsets
        from rest_framework.validators import UniqueTogetherValidator, UniqueValidator
        from .models import Donor, Profile


        class ProfileForm(forms.ModelForm):
            class Meta:
                model = Profile
                fields = ["email"]

            def clean_email(self):
                found = self._meta.model.objects.filter(email=self.cleaned_data["email"])  # PERHAPS: filters on
                return found or Profile.objects.filter(email=self.cleaned_data.get("email"))  # USE: filters on


        class ChoiceForm(forms.Form):
            email = forms.EmailField()
            who = forms.ModelChoiceField(Profile.objects.all(), to_field_name="name")
            by = forms.ModelChoiceField(queryset=Profile.objects.all(), to_field_name="email")  # USE: looks up by


        class ProfileFilter(django_filters.FilterSet):
            class Meta:
                model = Profile
                fields = {"name": ["exact"], "email": ["icontains"]}  # USE: filters on


        class ProfileSerializer(serializers.ModelSerializer):
            email = serializers.EmailField(validators=[UniqueValidator(queryset=Profile.objects.all())])  # USE: makes unique

            class Meta:
                model = Profile
                fields = ["email"]
                validators = [
                    UniqueTogetherValidator(queryset=Profile.objects.all(), fields=["name", "email"]),  # USE: makes unique
                ]


        class DonorSerializer(serializers.ModelSerializer):
            email = serializers.EmailField(validators=[UniqueValidator(queryset=Donor.objects.all())])
            profile = serializers.SlugRelatedField(queryset=Profile.objects.all(), slug_field="email")  # USE: looks up by


        class Profiles(viewsets.ModelViewSet):
            queryset = Profile.objects.all()
            search_fields = ["^email"]  # USE: searches
            ordering_fields = ["name", "email"]  # USE: orders by
            filterset_fields = ["name"]
            lookup_field = "email"  # USE: looks up by
    """,
    "accounts/models.py": """
        from django.db import models


        class Profile(models.Model):
            email = models.EmailField(unique=True)

            class Meta:
                ordering = ["email"]
    """,
    "accounts/views.py": """
        from accounts.models import Profile


        def index(address):
            return Profile.objects.filter(email=address).order_by("email")
    """,
    "accounts/tasks.py": """
        from django.apps import apps
        from web.models import Profile


        def task(address):
            apps.get_model("accounts", "Profile").objects.filter(email=address)
            apps.get_model("web", "Profile").objects.filter(email=address)  # USE: filters on
            return Profile.objects.filter(email=address)  # USE: filters on
    """,
    "web/migrations/0001_initial.py": """
        def forwards(apps, editor):
            apps.get_model("web", "Profile").objects.filter(email="")
    """,
    ".venv/lib/web.py": """
        from web.models import Profile
        Profile.objects.filter(email="")
    """,
    "reports/monthly.sql": """
        -- email of web_profile is not read here
        SELECT name FROM web_profile;
        SELECT amount
        FROM web_donation
        JOIN web_profile ON email = ''; -- USE: names in SQL
        SELECT email FROM web_donor;
    """,
    "old/python2.py": "print 'email'\n",
}


def expected(folder):
    """What the comments say: (file, line, what it does, whether it is sure)."""
    found = []
    for name in FILES:
        for line, text in enumerate((Path(folder) / name).read_text().splitlines(), 1):
            for mark, sure in (("USE: ", True), ("PERHAPS: ", False)):
                if mark in text:
                    found.append((name, line, text.partition(mark)[2].strip(), sure))
    return sorted(found)
