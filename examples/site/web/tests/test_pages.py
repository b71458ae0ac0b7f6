from django.contrib.auth.models import User
from django.test import TestCase

from web.models import Profile


class Pages(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.ada = Profile.objects.create(first_name="Ada <b>", email="ada@example.org")

    def test_the_first_page_shows_profiles(self) -> None:
        page = self.client.get("/")
        self.assertContains(page, "Ada &lt;b&gt;")
        self.assertContains(page, "ada@example.org")

    def test_health_is_ok_when_a_profile_can_be_read(self) -> None:
        self.assertEqual(self.client.get("/health").json(), {"status": "ok"})

    def test_the_admin_lists_and_edits_profiles(self) -> None:
        self.client.force_login(User.objects.create_superuser("root"))
        self.assertContains(self.client.get("/admin/web/profile/"), "ada@example.org")
        self.assertContains(self.client.get(f"/admin/web/profile/{self.ada.pk}/change/"), "ada@example.org")
