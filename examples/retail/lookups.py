"""What can be asked of the shop. Nothing here changes a record."""

from examples.customer_service.records import Database, Record
from ledgent.agent import ToolError


def user_id_by_email(database: Database, email: str) -> str:
    """The id of the user with this e-mail address, whatever its letter case."""
    for user_id, user in database.items("users"):
        if user["email"].lower() == email.lower():
            return user_id
    raise ToolError("Error: user not found")


def user_id_by_name_zip(database: Database, first_name: str, last_name: str, zip: str) -> str:
    """The id of the user with this name, whatever its letter case, and this zip code."""
    wanted = first_name.lower(), last_name.lower(), zip
    for user_id, user in database.items("users"):
        name = user["name"]
        if (name["first_name"].lower(), name["last_name"].lower(), user["address"]["zip"]) == wanted:
            return user_id
    raise ToolError("Error: user not found")


def user(database: Database, user_id: str) -> Record:
    """The user's record."""
    return database.get("users", user_id)


def order(database: Database, order_id: str) -> Record:
    """The order's record."""
    return database.get("orders", order_id)


def product(database: Database, product_id: str) -> Record:
    """The product's record with all its variants."""
    return database.get("products", product_id)


def product_types(database: Database) -> dict[str, str]:
    """Product ids by product name, in the order of the names."""
    return dict(sorted((record["name"], product_id) for product_id, record in database.items("products")))
