"""What the airline's tools take besides plain texts and numbers: flights, passengers, payments."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict, with_config
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12


class AsWritten:
    """Marks what is checked against its type, and kept as the model wrote it: which keys, in which order, 200 or 200.0.

    The airline repeats it so in its answers. In the tool's schema it stands in its place, not behind a reference.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def checked(value: Any, check: core_schema.ValidatorFunctionWrapHandler) -> Any:
            check(value)
            return value

        return core_schema.no_info_wrap_validator_function(checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        whole = handler.resolve_ref_schema(handler(schema))
        fields = {name: _untitled(field) for name, field in whole.get("properties", {}).items()}
        return _untitled(whole) | ({"properties": fields} if fields else {})


def _untitled(schema: JsonSchemaValue) -> JsonSchemaValue:
    return {key: value for key, value in schema.items() if key != "title"}


MORE_KEYS = ConfigDict(extra="ignore")
Cabin = Literal["basic_economy", "economy", "business"]
Amount = Annotated[float, Strict(), Field(allow_inf_nan=False), AsWritten()]


@with_config(MORE_KEYS)
class Flight(TypedDict):
    flight_number: Annotated[str, Field(description="Flight number, such as 'HAT001'.")]
    date: Annotated[str, Field(description="The date for the flight in the format 'YYYY-MM-DD', such as '2024-05-01'.")]


@with_config(MORE_KEYS)
class Passenger(TypedDict):
    first_name: Annotated[str, Field(description="The first name of the passenger, such as 'Noah'.")]
    last_name: Annotated[str, Field(description="The last name of the passenger, such as 'Brown'.")]
    dob: Annotated[
        str,
        Field(description="The date of birth of the passenger in the format 'YYYY-MM-DD', such as '1990-01-01'."),
    ]


@with_config(MORE_KEYS)
class Payment(TypedDict):
    payment_id: Annotated[
        str,
        Field(
            description="The payment id stored in user profile, such as 'credit_card_7815826', "
            "'gift_card_7815826', 'certificate_7815826'."
        ),
    ]
    amount: Annotated[float, Strict(), Field(allow_inf_nan=False, description="The amount to be paid.")]


Flights = list[Annotated[Flight, AsWritten()]]
Passengers = list[Annotated[Passenger, AsWritten()]]
Payments = list[Annotated[Payment, AsWritten()]]
