"""What is forgotten about people: sessions and invitations that are long over. The audit keeps that they were."""

from storage.postgres.database import Database

EVERY_SECONDS = 3600.0
_SESSIONS = """
delete from control.person_session
where expires_at < now() - interval '7 days' or ended_at < now() - interval '7 days'
"""
_INVITATIONS = "delete from control.invitation where expires_at < now() - interval '90 days'"


async def forget_people(database: Database) -> None:
    """Delete sessions a week, and invitations 90 days after their end."""
    async with database.unit() as connection:
        await connection.execute(_SESSIONS)
        await connection.execute(_INVITATIONS)
