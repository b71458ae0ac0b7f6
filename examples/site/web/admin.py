from django.contrib import admin

from web.models import Donation, FeatureVote, Order, Profile, WebRequest


@admin.register(Profile)
class ProfileAdmin(admin.ModelAdmin):
    list_display = ["id", "first_name", "last_name", "email", "discord_username", "is_mentor", "updated_at"]
    list_filter = ["is_mentor"]


@admin.register(Donation)
class DonationAdmin(admin.ModelAdmin):
    list_display = ["id", "email", "amount_cents", "created_at"]
    raw_id_fields = ["profile"]


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["id", "shipping_address", "total_cents", "created_at"]
    raw_id_fields = ["profile"]


@admin.register(WebRequest)
class WebRequestAdmin(admin.ModelAdmin):
    list_display = ["id", "path", "ip_address", "created_at"]


@admin.register(FeatureVote)
class FeatureVoteAdmin(admin.ModelAdmin):
    list_display = ["id", "feature", "ip_address", "created_at"]
