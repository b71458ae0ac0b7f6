from django.contrib import admin
from django.urls import path

from web import views

urlpatterns = [
    path("", views.profiles),
    path("health", views.health),
    path("admin/", admin.site.urls),
]
